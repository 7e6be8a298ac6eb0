from django.apps import AppConfig
from django.db.models.signals import pre_migrate


class ConversationsConfig(AppConfig):
    name = "conversations"

    def ready(self) -> None:
        from conversations.migrating.guards import check_plan

        pre_migrate.connect(check_plan, sender=self)
