# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""Recordings: whole, bare, without metadata, cut off, and things that are none."""

from __future__ import annotations

from pathlib import Path
import shutil

from loc2_ros.data.bag import Bag, BagError, open_bag, TopicQos
from loc2_ros.data.bag_writer import BagWriter, make, make_header
from loc2_ros.data.messages import camera_from_info, decode_compressed, stamp_ns
import numpy as np
import pytest

KITTI = Path(__file__).parents[2].parent / 'shared' / 'data' / 'kitti_0013' / 'mcap'
STRING = 'std_msgs/msg/String'
IMAGE = 'sensor_msgs/msg/CompressedImage'


def write(path: Path, images: int = 30) -> Path:
    """Write a small bag: 30 images of 100 kB at 10 Hz and one latched string."""
    noise = np.random.default_rng(0).integers(0, 255, 100_000, dtype=np.uint8)
    with BagWriter(path) as bag:
        bag.add_topic('/latched', STRING, TopicQos(latched=True, depth=1))
        bag.add_topic('/image', IMAGE, TopicQos(reliable=False, depth=5))
        bag.add_topic('/plain', STRING, None)
        bag.write('/latched', 10**18, make(STRING, data='origin'))
        for i in range(images):
            stamp = 10**18 + i * 10**8
            bag.write('/image', stamp, make(
                IMAGE, header=make_header(stamp, 'camera'), format='jpeg', data=noise))
        bag.write('/plain', 10**18 + 5, make(STRING, data='hello'))
    return path


def summary(bag: Bag) -> dict[str, int]:
    """Return the message count per topic as read."""
    counts: dict[str, int] = {}
    for record in bag.records():
        counts[record.topic.name] = counts.get(record.topic.name, 0) + 1
    return counts


@pytest.mark.parametrize('name', ['drive.mcap', 'drive.db3', 'folder'])
def test_a_written_bag_reads_back_in_time_order_with_its_qos(tmp_path: Path, name: str) -> None:
    with open_bag(write(tmp_path / name)) as bag:
        assert summary(bag) == {'/latched': 1, '/plain': 1, '/image': 30}
        times = [record.log_ns for record in bag.records()]
        assert times == sorted(times)
        assert bag.start_ns == times[0] and bag.end_ns == times[-1]
        assert bag.topics['/latched'].qos == TopicQos(True, True, 1)
        assert bag.topics['/image'].qos == TopicQos(False, False, 5)
        assert bag.topics['/plain'].qos is None
        assert [topic.name for topic in bag.of_type(IMAGE)] == ['/image']
        first = next(iter(bag.records(['/image', '/no_such_topic'])))
        assert stamp_ns(first.message.header.stamp) == 10**18


def test_a_single_file_is_a_file_and_leaves_nothing_else_behind(tmp_path: Path) -> None:
    write(tmp_path / 'drive.mcap')
    write(tmp_path / 'drive.mcap', images=2)    # replaces
    assert [p.name for p in tmp_path.iterdir()] == ['drive.mcap']
    with open_bag(tmp_path / 'drive.mcap') as bag:
        assert bag.topics['/image'].count == 2


def test_a_failed_write_leaves_nothing_behind(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), BagWriter(tmp_path / 'drive.mcap') as bag:
        bag.add_topic('/plain', STRING)
        bag.write('/plain', 1, make(STRING, data=str(1 // 0)))
    assert not list(tmp_path.iterdir())


def test_a_folder_whose_metadata_was_lost_still_opens(tmp_path: Path) -> None:
    write(tmp_path / 'folder')
    (tmp_path / 'folder' / 'metadata.yaml').unlink()
    with open_bag(tmp_path / 'folder') as bag:
        assert summary(bag)['/image'] == 30


@pytest.mark.parametrize('name', ['drive.mcap', 'folder'])
def test_a_truncated_mcap_names_the_file_what_is_left_and_the_remedy(
        tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    file = next(path.glob('*.mcap')) if path.is_dir() else path
    data = file.read_bytes()
    file.write_bytes(data[:len(data) // 2])
    with pytest.raises(BagError, match=r'mcap recover .*\.mcap -o') as error, open_bag(path):
        pass
    assert str(file) in str(error.value)
    assert '12 messages, 1.0 s of them' in str(error.value)     # one whole chunk of 1 MB


@pytest.mark.parametrize('name', ['drive.db3', 'drive.mcap'])
def test_damage_in_the_middle_is_told_when_it_is_reached(tmp_path: Path, name: str) -> None:
    path = write(tmp_path / name)
    data = bytearray(path.read_bytes())
    data[len(data) // 2:len(data) // 2 + 250_000] = b'\xff' * 250_000     # several records
    path.write_bytes(bytes(data))
    with pytest.raises(BagError, match='damaged or cut off'), open_bag(path) as bag:
        list(bag.records())


def test_a_truncated_sqlite_bag_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / 'drive.db3')
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(BagError, match='ros2 bag reindex'), open_bag(path) as bag:
        list(bag.records())


@pytest.mark.parametrize(('name', 'content', 'match'), [
    ('a.mcap', b'this is no recording at all', 'not an MCAP'),
    ('a.mcap', b'', 'not an MCAP'),
    ('a.mcap', b'\x89MCAP0\r\n', 'damaged or cut off'),
    ('a.db3', b'this is no database', 'damaged or cut off'),
    ('a.txt', b'hello', 'expected a folder'),
    ('a.bag', b'#ROSBAG V2.0\n', 'rosbag reindex'),
    ('a.bag', b'this is no recording', 'damaged or cut off'),
])
def test_a_file_that_is_no_bag_is_refused(
        tmp_path: Path, name: str, content: bytes, match: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BagError, match=match), open_bag(tmp_path / name):
        pass


def test_a_folder_that_is_no_bag_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BagError, match='holds no recording'), open_bag(tmp_path):
        pass
    with pytest.raises(BagError, match='there is no bag'), open_bag(tmp_path / 'absent'):
        pass


def test_broken_metadata_is_refused(tmp_path: Path) -> None:
    path = write(tmp_path / 'folder')
    (path / 'metadata.yaml').write_text('rosbag2_bagfile_information: [1, 2')
    with pytest.raises(BagError), open_bag(path):
        pass


def test_an_empty_recording_is_refused(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        writer.add_topic('/plain', STRING)
    with pytest.raises(BagError, match='no messages'), open_bag(tmp_path / 'drive.mcap'):
        pass


def test_a_message_that_cannot_be_deserialised_says_where_it_is(tmp_path: Path) -> None:
    with BagWriter(tmp_path / 'drive.mcap') as writer:
        writer.add_topic('/plain', STRING)
        writer.write_bytes('/plain', 7, b'\0\1\0\0\xff\xff')
    with open_bag(tmp_path / 'drive.mcap') as bag:
        record = next(bag.records())
        with pytest.raises(BagError, match='/plain at 7 ns'):
            _ = record.message


@pytest.mark.skipif(not KITTI.exists(), reason='the KITTI sample is not in ../shared/data')
def test_the_kitti_sample_has_144_images_and_its_intrinsics_come_from_p(tmp_path: Path) -> None:
    camera = '/kitti/camera_color_left'
    with open_bag(KITTI) as bag:
        counts = {topic.name: topic.count for topic in bag.topics.values()}
        info = next(bag.records([f'{camera}/camera_info'])).message
        image = next(bag.records([f'{camera}/image_raw/compressed'])).message
        assert bag.topics['/tf_static'].qos is None     # un-latched, as kitti2bag writes it
    assert counts == {
        f'{camera}/image_raw/compressed': 144, f'{camera}/camera_info': 144,
        '/kitti/oxts/gps/fix': 144, '/kitti/oxts/gps/vel': 144, '/kitti/oxts/imu': 144,
        '/tf_static': 1}
    intrinsics = camera_from_info(info)
    assert (intrinsics.fx, intrinsics.cx, intrinsics.cy) == (721.5377, 609.5593, 172.854)
    assert decode_compressed(image).shape == (375, 1242, 3)
    bare = shutil.copy(next(KITTI.glob('*.mcap')), tmp_path / 'bare.mcap')
    with open_bag(bare) as bag:
        assert bag.topics['/kitti/oxts/imu'].count == 144
