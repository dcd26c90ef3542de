# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Package loc2_ros, for colcon (ament_python) and for pip."""

from glob import glob
from os.path import isfile

from setuptools import find_packages, setup

NAME = 'loc2_ros'

# A ROS distribution brings NumPy, OpenCV, PyYAML, Matplotlib and tqdm through package.xml, and
# its cv_bridge is built against them: nothing here may pull in other wheels unless asked to.
EXTRAS = {
    # Without a ROS distribution
    'standalone': [
        'matplotlib',
        'numpy',
        # OpenCV 5 renumbers the type codes that cv_bridge relies on
        'opencv-python-headless<5',
        'pyyaml',
        'rosbags>=0.11',
        'safetensors',
        'torch>=2.1',
        'tqdm',
        'typer>=0.12',
    ],
    # DINOv2 for the published models; 5 renamed its tensors, which 6 may do again
    'models': ['safetensors', 'transformers>=5.0,<6'],
    'geo': ['pyproj', 'rasterio'],
    'train': ['accelerate'],
    'dev': ['hypothesis', 'mypy', 'pytest', 'types-PyYAML', 'types-tqdm'],
    # By this name colcon knows that the tests are pytest's
    'test': ['hypothesis', 'pytest'],
}

setup(
    name=NAME,
    version='0.1.0',
    description='Localizes a ground camera against an aerial map, without training on the place.',
    license='Apache-2.0',
    maintainer='loc2_ros developers',
    maintainer_email='dev@example.com',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    package_data={NAME: ['py.typed'], f'{NAME}.model': ['mini/*']},
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        (f'share/{NAME}/launch', sorted(filter(isfile, glob('launch/*')))),
        (f'share/{NAME}/config', sorted(filter(isfile, glob('config/*')))),
        # pip puts console scripts into bin/ only; `ros2 run` and launch look here
        (f'lib/{NAME}', ['scripts/loc2', 'scripts/loc2_node', 'scripts/kitti_adapter']),
    ],
    entry_points={'console_scripts': [
        'loc2 = loc2_ros.cli.__main__:main',
        'loc2_node = loc2_ros.ros.node:main',
        'kitti_adapter = loc2_ros.ros.kitti_adapter:main',
    ]},
    python_requires='>=3.10',
    install_requires=['setuptools'],
    extras_require=EXTRAS,
    zip_safe=False,
)
