"""The versions in this image beside those that nemo_prorl knows; ends with 1 when something it needs isn't there."""

import sys

from nemo_prorl.preflight.versions import check_versions

findings = list(check_versions())
for finding in findings:
    print(f"{finding.outcome:<8} {finding.check:<18} {finding.found}  {finding.advice}".rstrip())
sys.exit(any(finding.outcome == "failed" for finding in findings))
