# Copyright 2026 loc2_ros developers
# SPDX-License-Identifier: Apache-2.0
"""What loc2_ros expects of cv_bridge; true of upstream's and of the stand-in."""

from __future__ import annotations

from array import array

import cv2
from cv_bridge import CvBridge, CvBridgeError
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from std_msgs.msg import Header

# One row: a red and a green pixel
RGB = np.array([[[250, 10, 20], [30, 240, 40]]], dtype=np.uint8)
# What a conversion of bad data may raise: upstream's kinds, and the stand-in's only one
REFUSALS = (CvBridgeError, TypeError, AttributeError, ValueError, cv2.error)


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    """Lay out an image by hand, with unused bytes at the end of each row."""
    rows = pixels.reshape(len(pixels), -1).view(np.uint8)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    return Image(height=pixels.shape[0], width=pixels.shape[1], encoding=encoding,
                 step=rows.shape[1], data=array('B', rows.tobytes()))


def with_alpha(pixels: np.ndarray) -> np.ndarray:
    """Append a channel."""
    return np.dstack([pixels, np.full(pixels.shape[:2], 128, np.uint8)])


GREY = np.array([[3, 200]], dtype=np.uint8)
GREY_AS_RGB = np.repeat(GREY[..., None], 3, axis=2)


@pytest.mark.parametrize('pixels, encoding, expected', [
    (RGB, 'rgb8', RGB),
    (RGB[..., ::-1], 'bgr8', RGB),
    (with_alpha(RGB), 'rgba8', RGB),
    (with_alpha(RGB[..., ::-1]), 'bgra8', RGB),
    (GREY, 'mono8', GREY_AS_RGB),
    (GREY.astype(np.uint16) * 256 + 7, 'mono16', GREY_AS_RGB),
])
def test_every_camera_encoding_becomes_rgb(pixels: np.ndarray, encoding: str,
                                           expected: np.ndarray) -> None:
    got = CvBridge().imgmsg_to_cv2(message(np.ascontiguousarray(pixels), encoding), 'rgb8')
    assert got.dtype == np.uint8
    np.testing.assert_array_equal(got, expected)


def test_images_are_writable_and_contiguous_copies() -> None:
    source = message(RGB, 'rgb8')
    got = CvBridge().imgmsg_to_cv2(source, 'rgb8')
    assert got.flags.writeable
    assert got.flags.c_contiguous
    got[:] = 0
    assert source.data[0] == 250


def test_padded_rows_are_cut() -> None:
    pixels = np.concatenate([RGB, RGB[:, ::-1]])
    got = CvBridge().imgmsg_to_cv2(message(pixels, 'rgb8', padding=5), 'rgb8')
    np.testing.assert_array_equal(got, pixels)


@pytest.mark.parametrize('pixels, encoding', [
    (np.array([[1000, 65535]], np.uint16), '16UC1'),
    (np.array([[1.5, np.inf]], np.float32), '32FC1'),
    (GREY, 'mono8'),
    (RGB, '8UC3'),
])
def test_passed_through_pixels_keep_type_and_value(pixels: np.ndarray, encoding: str) -> None:
    got = CvBridge().imgmsg_to_cv2(message(pixels, encoding))
    assert got.dtype == pixels.dtype
    np.testing.assert_array_equal(got, pixels)


def test_big_endian_depth_is_read_in_its_byte_order() -> None:
    source = message(np.array([[1000]], '>u2').view(np.uint16), '16UC1')
    source.is_bigendian = 1
    assert CvBridge().imgmsg_to_cv2(source)[0, 0] == 1000


@pytest.mark.parametrize('pixels, encoding', [
    (RGB, '8UC3'), (np.array([[1, 2]], np.uint16), '16UC1')])
def test_pixels_without_a_color_do_not_become_rgb(pixels: np.ndarray, encoding: str) -> None:
    with pytest.raises(CvBridgeError, match='not a color format'):
        CvBridge().imgmsg_to_cv2(message(pixels, encoding), 'rgb8')


@pytest.mark.parametrize('given, wanted', [('yuv9000', 'rgb8'), ('rgb8', 'yuv9000')])
def test_unknown_encodings_are_refused(given: str, wanted: str) -> None:
    with pytest.raises(CvBridgeError):
        CvBridge().imgmsg_to_cv2(message(RGB, given), wanted)


def test_too_few_bytes_are_refused() -> None:
    source = message(RGB, 'rgb8')
    source.data = source.data[:-1]
    with pytest.raises(REFUSALS):
        CvBridge().imgmsg_to_cv2(source, 'rgb8')


@pytest.mark.parametrize('data', [b'', b'no image at all'])
def test_bytes_that_are_no_jpeg_are_refused(data: bytes) -> None:
    with pytest.raises(REFUSALS):
        CvBridge().compressed_imgmsg_to_cv2(
            CompressedImage(format='jpeg', data=array('B', data)), 'rgb8')


def test_a_compressed_image_is_decoded_into_the_wanted_order() -> None:
    png = cv2.imencode('.png', RGB[..., ::-1])[1]
    source = CompressedImage(format='png', data=array('B', png.tobytes()))
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(source, 'rgb8'), RGB)
    np.testing.assert_array_equal(CvBridge().compressed_imgmsg_to_cv2(source), RGB[..., ::-1])


def test_a_message_has_the_bytes_of_the_array_and_the_header_given() -> None:
    header = Header(frame_id='camera')
    got = CvBridge().cv2_to_imgmsg(RGB[:, ::-1], 'rgb8', header)  # not contiguous
    assert (got.height, got.width, got.step, got.encoding) == (1, 2, 6, 'rgb8')
    assert isinstance(got.data, array)
    assert got.data.typecode == 'B'
    assert got.data.tolist() == [30, 240, 40, 250, 10, 20]
    assert got.header == header


def test_a_message_names_the_type_of_an_array_without_an_encoding() -> None:
    assert CvBridge().cv2_to_imgmsg(np.zeros((2, 3), np.float32)).encoding == '32FC1'


@pytest.mark.parametrize('pixels, encoding', [
    (GREY, 'rgb8'), (RGB, 'mono8'), (RGB.astype(np.float32), 'rgb8')])
def test_an_array_that_does_not_fit_its_encoding_is_refused(pixels: np.ndarray,
                                                            encoding: str) -> None:
    with pytest.raises(CvBridgeError):
        CvBridge().cv2_to_imgmsg(pixels, encoding)


def test_the_error_is_a_type_error() -> None:
    assert issubclass(CvBridgeError, TypeError)
