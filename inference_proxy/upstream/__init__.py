"""Calls to the inference service: connections, bodies, events, the list of models. Not what their content means."""
