# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Start the localizer, and with ``bag`` a player beside it.

    ros2 launch loc2_ros localize.launch.py map:=area.mbtiles
    ros2 launch loc2_ros localize.launch.py map:=area.mbtiles bag:=drive params_file:=kitti
"""

from pathlib import Path
import sys

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, ExecuteProcess, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

# Beside this file in the source tree as well as in share/loc2_ros
CONFIG = Path(__file__).resolve().parent.parent / 'config'
PLAYER = 'from loc2_ros.cli.main import main; main()'
PATIENCE_S = '60'       # the node loads its model before it listens

ARGUMENTS = {
    'map': ('', 'Aerial map: an MBTiles file or a folder of tiles; empty: map.path of the file.'),
    'checkpoint': ('', 'Built-in model or model folder; empty: as in the parameter files.'),
    'params_file': ('', 'Parameters on top of config/loc2.yaml: a path, or a name in config/ '
                        'such as kitti.'),
    'image_topic': ('', 'Rectified image; without /compressed for compressed transport.'),
    'camera_info_topic': ('', 'Calibration of the rectified image.'),
    'fix_topic': ('', 'NavSatFix for the position prior.'),
    'imu_topic': ('', 'Imu with absolute yaw for the heading prior.'),
    'publish_tf': ('', 'true or false; empty: as in the parameter files.'),
    'bag': ('', 'A recording to play with `loc2 replay`: a file or folder, MCAP or SQLite.'),
    'rate': ('1.0', 'Speed of playing.'),
    'use_sim_time': ('', 'true or false; empty: true with bag, else as in the parameter files.'),
    'namespace': ('', 'Namespace of the node, and of /tf with it.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}


def generate_launch_description():
    """Return the arguments and what they start."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context):
    """Return the node, and the player if there is a bag."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    files = [str(CONFIG / 'loc2.yaml')]
    if given['params_file']:
        files.append(str(find_parameters(given['params_file'])))
    in_namespace = [('/tf', 'tf'), ('/tf_static', 'tf_static')] if given['namespace'] else []
    node = Node(
        package='loc2_ros', executable='loc2_node', name='loc2', namespace=given['namespace'],
        parameters=[*files, overrides(given)], remappings=in_namespace, output='screen',
        arguments=['--ros-args', '--log-level', given['log_level']],
        # A node that cannot start must not leave a player behind
        on_exit=Shutdown())
    if not given['bag']:
        return [node]
    player = ExecuteProcess(
        cmd=[sys.executable, '-c', PLAYER, 'replay', given['bag'], '--rate', given['rate'],
             *player_options(given, files, in_namespace)], output='screen')
    return [node, player]


def player_options(given, files, in_namespace):
    """Return what tells the player the node's topics; it starts once the node listens to them."""
    topics = [f'{name}:={given[name]}' for name in ARGUMENTS
              if name.endswith('_topic') and given[name]]
    return [*(word for file in files for word in ('--config', file)),
            *(word for topic in topics for word in ('--param', topic)),
            *(word for recorded, name in in_namespace
              for word in ('--remap', f'{recorded}:=/{given["namespace"].strip("/")}/{name}')),
            '--wait-for', PATIENCE_S]


def find_parameters(name):
    """Return the file for a path or for the bare name of one in config/."""
    for path in (Path(name).expanduser(), CONFIG / name, CONFIG / f'{name}.yaml'):
        if path.is_file():
            return path
    known = ', '.join(sorted(path.stem for path in CONFIG.glob('*.yaml')))
    raise FileNotFoundError(f'params_file:={name} is neither a file nor one of {known}')


def overrides(given):
    """Return the parameters that arguments set; empty arguments leave the files alone."""
    names = {'map': 'map.path', 'checkpoint': 'checkpoint', 'image_topic': 'image_topic',
             'camera_info_topic': 'camera_info_topic', 'fix_topic': 'fix_topic',
             'imu_topic': 'imu_topic'}
    found = {parameter: given[name] for name, parameter in names.items() if given[name]}
    for name in ('publish_tf', 'use_sim_time'):
        if given[name]:
            found[name] = truth(name, given[name])
    if given['bag']:
        found.setdefault('use_sim_time', True)
    return found


def truth(name, text):
    """Return the truth value of an argument."""
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'{name}:={text} must be true or false')
    return text.lower() == 'true'
