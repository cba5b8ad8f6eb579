"""`python -m tests.azure.cloud LOG COMMAND …`: run a command beside the cloud, inside a sandbox."""

import os
import subprocess
import sys
from pathlib import Path

from tests.azure.cloud import Cloud
from tests.azure.cloud.management import Management
from tests.azure.cloud.server import sandbox

cloud = Cloud(sandbox())
cloud.log = Path(sys.argv[1]) if sys.argv[1] else None
cloud.area(Management).make_group("mlops")
cloud.area(Management).make_workspace("mlops", "mlops")
try:
    ended = subprocess.run(sys.argv[2:], env={**os.environ, **cloud.environ}, check=False).returncode
    for violation in cloud.violations:
        print(f"VIOLATION {violation}", file=sys.stderr)
finally:
    cloud.close()
sys.exit(ended)
