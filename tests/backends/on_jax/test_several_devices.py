"""Several JAX devices: four of them made of one CPU, in a process of their own (JAX counts its devices once)."""

import os
import subprocess
import sys


def test_four_devices_give_the_answers_of_one() -> None:
    environment = {**os.environ, "XLA_FLAGS": "--xla_force_host_platform_device_count=4", "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, "-m", "tests.backends.on_jax.several_devices"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr
