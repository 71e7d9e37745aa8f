"""Logs written back in the shapes that other toolboxes read: ``python -m data_tools.export``.

``nuscenes``  nuScenes v1.0 tables and files, which nuscenes-devkit 1.2 opens; tokens, names, times, poses and
              annotations of logs that came from nuScenes are those of the source
``mmdet3d``   infos as mmdet3d 1.4 reads them (info version 1.1); its pickles hold builtins only
"""

from data_tools.export.mmdet3d import export_mmdet3d
from data_tools.export.nuscenes import export_nuscenes

__all__ = ["export_mmdet3d", "export_nuscenes"]
