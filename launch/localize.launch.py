# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""
Start the localizer, and beside it what is asked for: filters, adapter, player, RViz.

    ros2 launch loc2_ros localize.launch.py map:=area.mbtiles
    ros2 launch loc2_ros localize.launch.py map:=area.mbtiles bag:=drive params_file:=kitti
    ros2 launch loc2_ros localize.launch.py map:=area.mbtiles twist_topic:=/wheels/twist

docs/integration.md tells who sends which transform.
"""

from pathlib import Path
import sys

from ament_index_python.packages import get_package_prefix, PackageNotFoundError
from launch import LaunchDescription
from launch.actions import (
    DeclareLaunchArgument, ExecuteProcess, LogInfo, OpaqueFunction, Shutdown)
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from loc2_ros.cli.settings import NODE_FILES
import yaml

# Beside this file in the source tree as well as in share/loc2_ros
CONFIG = Path(__file__).resolve().parent.parent / 'config'
PLAYER = 'from loc2_ros.cli.main import main; main()'
PATIENCE_S = '60'       # the node loads its model before it listens
ADAPTED = {'fix_topic': '/kitti/fix', 'imu_topic': '/kitti/imu'}
ADAPTED_TWIST = '/kitti/twist'
# robot_localization names these without its own name: two filters would share them
FILTER_NAMES = ('enable', 'reset', 'set_pose', 'toggle')
FILTERS = {'ekf_odom': 'odometry/local', 'ekf_map': 'odometry/global'}

ARGUMENTS = {
    'map': ('', 'Aerial map: an MBTiles file or a folder of tiles; empty: map.path of the file.'),
    'checkpoint': ('', 'Built-in model or model folder; empty: as in the parameter files.'),
    'params_file': ('', 'Parameters on top of config/loc2.yaml: a path, or a name in config/ '
                        'such as kitti.'),
    'image_topic': ('', 'Rectified image; without /compressed for compressed transport.'),
    'camera_info_topic': ('', 'Calibration of the rectified image.'),
    'fix_topic': ('', 'NavSatFix for the position prior.'),
    'imu_topic': ('', 'Imu with absolute yaw for the heading prior; its yaw rate for the EKF.'),
    'twist_topic': ('', 'TwistWithCovarianceStamped of the wheels for the EKF.'),
    'ekf': ('auto', 'true, false, or auto: with a twist_topic or the adapter, where '
                    'robot_localization is installed. It then owns map -> odom -> base_link.'),
    'ekf_file': ('', 'Parameters of the filters on top of config/ekf.yaml.'),
    'adapter': ('auto', 'kitti_adapter before node and EKF: true, false, or auto: with the topics '
                        'of kitti2bag.'),
    'publish_tf': ('auto', 'true, false, or auto: false with ekf, else as in the parameter '
                           'files.'),
    'bag': ('', 'A recording to play with `loc2 replay`: a file or folder, MCAP or SQLite.'),
    'rate': ('1.0', 'Speed of playing.'),
    'use_sim_time': ('', 'true or false; empty: true with bag, else as in the parameter files.'),
    'rviz': ('false', 'Start RViz with config/loc2.rviz.'),
    'namespace': ('', 'Namespace of the nodes, and of /tf with them.'),
    'log_level': ('info', 'debug, info, warn, error or fatal.'),
}


def generate_launch_description():
    """Return the arguments and what they start."""
    declared = [DeclareLaunchArgument(name, default_value=default, description=text)
                for name, (default, text) in ARGUMENTS.items()]
    return LaunchDescription([*declared, OpaqueFunction(function=start)])


def start(context):
    """Return the node, and what is asked for beside it."""
    given = {name: LaunchConfiguration(name).perform(context) for name in ARGUMENTS}
    files = [str(CONFIG / 'loc2.yaml')]
    if given['params_file']:
        files.append(str(find_parameters(given['params_file'])))
    values = {**parameters_in(files), **overrides(given)}
    adapted = choose('adapter', given, has_kitti_names(values))
    ekf, notes = choose_installed(
        'ekf', 'robot_localization', given, adapted or given['twist_topic'] != '',
        'the localizer sends transforms itself')
    rviz, more_notes = choose_installed('rviz', 'rviz2', given, False, 'without a window')
    if ekf and overrides(given).get('publish_tf'):
        notes = [*notes, 'publish_tf: the localizer sends map -> odom although ekf_map does; '
                         'leave publish_tf at auto, or say publish_tf: false in ekf_file']
    values.update(ADAPTED if adapted else {})
    started = [localizer(given, files, adapted, ekf)]
    if adapted:
        started.append(adapter(given, values))
    if ekf:
        started += filters(given, values, adapted)
    if rviz:
        started.append(viewer(given, values))
    if given['bag']:
        started.append(player(given, files, adapted))
    return [*(LogInfo(msg=note) for note in notes + more_notes), *started]


def localizer(given, files, adapted, ekf):
    """Return the node."""
    parameters = overrides(given)
    if adapted:
        parameters.update(ADAPTED)
    if ekf:
        parameters['odom_frame'] = parameters_in(filter_files(given), 'ekf_map')['odom_frame']
        parameters['odometry_topic'] = FILTERS['ekf_map']
        parameters.setdefault('publish_tf', False)
    # A node that cannot start must not leave the others behind
    return ros_node(given, 'loc2_ros', 'loc2_node', 'loc2', [*files, parameters],
                    on_exit=Shutdown())


def adapter(given, values):
    """Return what repairs the messages of a recording of kitti2bag."""
    topics = {name: given[name] for name in ADAPTED if given[name]}
    return ros_node(given, 'loc2_ros', 'kitti_adapter', 'kitti_adapter', [
        str(CONFIG / 'kitti_adapter.yaml'), {**sim_time(values), **topics}])


def filters(given, values, adapted):
    """Return both filters of robot_localization."""
    inputs = {'imu0': values['imu_topic']}
    if adapted or given['twist_topic']:
        inputs['twist0'] = given['twist_topic'] or ADAPTED_TWIST
    return [
        ros_node(given, 'robot_localization', 'ekf_node', name,
                 [*filter_files(given), {**sim_time(values), **inputs}],
                 [('odometry/filtered', output),
                  *((service, f'{name}/{service}') for service in FILTER_NAMES)])
        for name, output in FILTERS.items()]


def viewer(given, values):
    """Return RViz; what its file calls /loc2/pose is looked for in the namespace."""
    path = CONFIG / 'loc2.rviz'
    displays = yaml.safe_load(path.read_text())['Visualization Manager']['Displays']
    topics = sorted({d['Topic']['Value'] for d in displays if 'Topic' in d})
    inside = [(topic, topic.lstrip('/')) for topic in topics
              if given['namespace'] and not topic.startswith('/ground_truth/')]
    return ros_node(given, 'rviz2', 'rviz2', 'rviz', [sim_time(values)], inside, ['-d', str(path)])


def player(given, files, adapted):
    """Return the player of a recording; it starts once the node listens to its topics."""
    topics = [f'{name}:={given[name]}' for name in ARGUMENTS
              if name.endswith('_topic') and name != 'twist_topic' and given[name]]
    remap = {recorded: f'/{given["namespace"].strip("/")}/{name}'
             for recorded, name in in_namespace(given)}
    if adapted:     # kitti2bag's world -> base_link would be a second parent
        remap['/tf'] = '/ground_truth/tf'
    bag = str(Path(given['bag']).expanduser())      # a shell leaves the ~ of bag:=~/drive alone
    return ExecuteProcess(
        cmd=[sys.executable, '-c', PLAYER, 'replay', bag, '--rate', given['rate'],
             *(word for file in files for word in ('--config', file)),
             *(word for topic in topics for word in ('--param', topic)),
             *(word for recorded, name in remap.items()
               for word in ('--remap', f'{recorded}:={name}')),
             '--wait-for', PATIENCE_S], output='screen')


def ros_node(given, package, executable, name, parameters, remappings=(), arguments=(), **more):
    """Return a node with what is the same for all of them."""
    return Node(
        package=package, executable=executable, name=name, namespace=given['namespace'],
        parameters=parameters, remappings=[*remappings, *in_namespace(given)], output='screen',
        arguments=[*arguments, '--ros-args', '--log-level', given['log_level']], **more)


def in_namespace(given):
    """Return the remappings that take transforms along into a namespace."""
    return [('/tf', 'tf'), ('/tf_static', 'tf_static')] if given['namespace'] else []


def find_parameters(name):
    """Return the file for a path or for the bare name of one of the node's in config/."""
    if Path(name).expanduser().is_file():
        return Path(name).expanduser()
    if name.removesuffix('.yaml') in NODE_FILES:
        return CONFIG / f'{name.removesuffix(".yaml")}.yaml'
    raise FileNotFoundError(
        f'params_file:={name} is neither a file nor one of {", ".join(NODE_FILES)}')


def filter_files(given):
    """Return the parameter files of the filters."""
    own = Path(given['ekf_file']).expanduser()
    if given['ekf_file'] and not own.is_file():
        raise FileNotFoundError(f'ekf_file:={own} is no file')
    return [str(CONFIG / 'ekf.yaml'), *([str(own)] if given['ekf_file'] else [])]


def parameters_in(files, node='loc2'):
    """Return the undotted parameters that files set for a node; the last one wins."""
    found = {}
    for file in files:
        content = yaml.safe_load(Path(file).read_text())
        if not isinstance(content, dict):
            raise ValueError(f'{file} holds no parameters; it needs /**: ros__parameters: ...')
        for key in ('/**', f'/**/{node}', node, f'/{node}'):
            found.update((content.get(key) or {}).get('ros__parameters') or {})
    return found


def overrides(given):
    """Return the parameters that arguments set; empty arguments leave the files alone."""
    names = {'map': 'map.path', 'checkpoint': 'checkpoint', 'image_topic': 'image_topic',
             'camera_info_topic': 'camera_info_topic', 'fix_topic': 'fix_topic',
             'imu_topic': 'imu_topic'}
    found = {parameter: given[name] for name, parameter in names.items() if given[name]}
    for name in ('publish_tf', 'use_sim_time'):
        if given[name] not in ('', 'auto'):
            found[name] = truth(name, given[name])
    if given['bag']:
        found.setdefault('use_sim_time', True)
    return found


def sim_time(values):
    """Return the clock of the localizer, for the others."""
    return {'use_sim_time': bool(values.get('use_sim_time', False))}


def has_kitti_names(values):
    """Tell whether topics are those that the adapter listens to."""
    expected = parameters_in([CONFIG / 'kitti_adapter.yaml'], 'kitti_adapter')
    return any(values.get(name) == expected[name] for name in ADAPTED)


def choose(name, given, automatic):
    """Return what an argument says, where auto means that."""
    return automatic if given[name] == 'auto' else truth(name, given[name], ', or auto')


def choose_installed(name, package, given, automatic, instead):
    """Return whether to start another package, and a sentence where it is asked for in vain."""
    if not choose(name, given, automatic):
        return False, []
    try:
        get_package_prefix(package)
    except PackageNotFoundError:
        return False, [f'{name}: the package {package} is not installed (apt install '
                       f'ros-$ROS_DISTRO-{package.replace("_", "-")}); going on without it, '
                       f'{instead}']
    return True, []


def truth(name, text, more=''):
    """Return the truth value of an argument."""
    if text.lower() not in ('true', 'false'):
        raise ValueError(f'{name}:={text} must be true or false{more}')
    return text.lower() == 'true'
