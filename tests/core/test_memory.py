"""The allocator: freed memory serves the next step instead of being faulted in anew."""

import subprocess
import sys

import pytest

COUNT = """
import resource, torch
from ur4rec_recbole.core.memory import keep_freed_memory
{before}
for _ in range(3):
    torch.ones(12_000_000)
start = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    torch.ones(12_000_000)
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - start)
"""


def page_faults(before: str) -> int:
    run = [sys.executable, "-c", COUNT.format(before=before)]
    return int(subprocess.run(run, capture_output=True, text=True, check=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="glibc alone has mallopt")
def test_a_block_that_was_freed_costs_no_new_page_faults() -> None:
    assert page_faults("keep_freed_memory()") < page_faults("") / 10
