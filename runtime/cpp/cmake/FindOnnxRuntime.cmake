# OnnxRuntime::OnnxRuntime from ONNXRUNTIME_ROOT, or ONNXRUNTIME_INCLUDE_DIR and ONNXRUNTIME_LIBRARY, or the system.
find_path(ONNXRUNTIME_INCLUDE_DIR onnxruntime_cxx_api.h HINTS ${ONNXRUNTIME_ROOT} PATH_SUFFIXES include onnxruntime)
find_library(ONNXRUNTIME_LIBRARY onnxruntime HINTS ${ONNXRUNTIME_ROOT} PATH_SUFFIXES lib)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(OnnxRuntime REQUIRED_VARS ONNXRUNTIME_LIBRARY ONNXRUNTIME_INCLUDE_DIR)
if(OnnxRuntime_FOUND AND NOT TARGET OnnxRuntime::OnnxRuntime)
  # The library in the Python wheel carries its whole version in its name and no link under the name that loaders ask for.
  get_filename_component(folder "${ONNXRUNTIME_LIBRARY}" DIRECTORY)
  if(UNIX AND NOT APPLE AND NOT EXISTS "${folder}/libonnxruntime.so.1")
    set(link "${CMAKE_BINARY_DIR}/onnxruntime/libonnxruntime.so.1")
    file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/onnxruntime")
    file(CREATE_LINK "${ONNXRUNTIME_LIBRARY}" "${link}" SYMBOLIC)
    set(ONNXRUNTIME_LIBRARY "${link}")
  endif()
  add_library(OnnxRuntime::OnnxRuntime SHARED IMPORTED)
  set_target_properties(OnnxRuntime::OnnxRuntime PROPERTIES
    IMPORTED_LOCATION "${ONNXRUNTIME_LIBRARY}" INTERFACE_INCLUDE_DIRECTORIES "${ONNXRUNTIME_INCLUDE_DIR}"
    INTERFACE_SYSTEM_INCLUDE_DIRECTORIES "${ONNXRUNTIME_INCLUDE_DIR}")
endif()
