#!/bin/sh
# The image runs this once, when the volume is empty. The service's role owns its database and has no other right.
set -eu
psql --set ON_ERROR_STOP=1 --username postgres --dbname postgres <<'SQL'
\getenv password CHAT_PASSWORD
CREATE ROLE chat LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE NOREPLICATION PASSWORD :'password';
CREATE DATABASE chat OWNER chat;
SQL
