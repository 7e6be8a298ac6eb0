"""Let assistants ask for as many tokens as MAX_OUTPUT_TOKENS may allow. A small table that turns only read.

To reverse it, first lower `max_tokens` of assistants that have more than 4,096.
"""

from django.db import migrations, models
from django.db.models import Q

from conversations.migrating.locks import LockingMigration


class Migration(LockingMigration):
    dependencies = [("conversations", "0017_user_quotas")]
    locked_tables = ("assistants",)

    operations = [
        migrations.RemoveConstraint(model_name="assistant", name="ck_assistants_sampling"),
        migrations.AddConstraint(
            model_name="assistant",
            constraint=models.CheckConstraint(
                name="ck_assistants_sampling",
                condition=(Q(temperature__isnull=True) | Q(temperature__range=(0, 2)))
                & (Q(max_tokens__isnull=True) | Q(max_tokens__range=(1, 131_072)))
                & (Q(top_k__isnull=True) | Q(top_k__range=(0, 200))),
            ),
        ),
    ]
