import atexit

from django.apps import AppConfig
from django.contrib.admin import apps as admin_apps
from django.db.models.signals import pre_migrate


class ConversationsConfig(AppConfig):
    name = "conversations"
    default = True

    def ready(self) -> None:
        from chatapi.database.pools import close_pools
        from conversations.migrating.guards import check_plan

        # Registered here, because commands, tests, benchmarks and workers all load the apps.
        atexit.register(close_pools)
        pre_migrate.connect(check_plan, sender=self)


class StaffAdminConfig(admin_apps.AdminConfig):
    default = False
    default_site = "conversations.staff_site.StaffSite"
