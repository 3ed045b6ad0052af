# TensorRT::TensorRT: its runtime and CUDA's, from TENSORRT_ROOT and CUDAToolkit_ROOT or the system. It is TensorRT, or else
# TensorRT-RTX; TENSORRT_NAME says which, as m8d calls it.
find_path(TENSORRT_INCLUDE_DIR NvInferRuntime.h HINTS ${TENSORRT_ROOT} PATH_SUFFIXES include)
find_library(TENSORRT_LIBRARY NAMES nvinfer tensorrt_rtx HINTS ${TENSORRT_ROOT} PATH_SUFFIXES lib)
find_path(CUDART_INCLUDE_DIR cuda_runtime_api.h HINTS ${CUDAToolkit_ROOT} /usr/local/cuda PATH_SUFFIXES include)
find_library(CUDART_LIBRARY cudart HINTS ${CUDAToolkit_ROOT} /usr/local/cuda PATH_SUFFIXES lib64 lib)

include(FindPackageHandleStandardArgs)
find_package_handle_standard_args(TensorRT
  REQUIRED_VARS TENSORRT_LIBRARY TENSORRT_INCLUDE_DIR CUDART_LIBRARY CUDART_INCLUDE_DIR)
if(TensorRT_FOUND AND NOT TARGET TensorRT::TensorRT)
  if(TENSORRT_LIBRARY MATCHES "tensorrt_rtx")
    set(TENSORRT_NAME tensorrt-rtx)
  else()
    set(TENSORRT_NAME tensorrt)
  endif()
  add_library(TensorRT::TensorRT INTERFACE IMPORTED)
  target_link_libraries(TensorRT::TensorRT INTERFACE "${TENSORRT_LIBRARY}" "${CUDART_LIBRARY}")
  target_include_directories(TensorRT::TensorRT SYSTEM INTERFACE "${TENSORRT_INCLUDE_DIR}" "${CUDART_INCLUDE_DIR}")
endif()
