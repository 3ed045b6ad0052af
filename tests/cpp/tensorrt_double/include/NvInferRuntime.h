#pragma once

#include <cstddef>
#include <cstdint>

#include "cuda_runtime_api.h"

namespace nvinfer1 {

struct Dims {
    std::int32_t nbDims;
    std::int64_t d[8];
};

enum class DataType : std::int32_t { kFLOAT = 0, kINT64 = 8 };

class ILogger {
  public:
    enum class Severity : std::int32_t { kINTERNAL_ERROR = 0, kERROR = 1, kWARNING = 2 };
    virtual ~ILogger() = default;
    virtual void log(Severity severity, const char *text) noexcept = 0;
};

class IExecutionContext {
  public:
    virtual ~IExecutionContext() = default;
    virtual bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t stream) noexcept = 0;
    virtual bool setInputShape(const char *name, const Dims &dims) noexcept = 0;
    virtual bool setTensorAddress(const char *name, void *address) noexcept = 0;
    virtual Dims getTensorShape(const char *name) const noexcept = 0;
    virtual bool enqueueV3(cudaStream_t stream) noexcept = 0;
};

class ICudaEngine {
  public:
    virtual ~ICudaEngine() = default;
    virtual IExecutionContext *createExecutionContext() noexcept = 0;
    virtual DataType getTensorDataType(const char *name) const noexcept = 0;
};

class IRuntime {
  public:
    virtual ~IRuntime() = default;
    virtual ICudaEngine *deserializeCudaEngine(const void *data, std::size_t bytes) noexcept = 0;
};

IRuntime *createInferRuntime(ILogger &logger) noexcept;

}  // namespace nvinfer1

extern "C" {
std::int32_t getInferLibMajorVersion() noexcept;
std::int32_t getInferLibMinorVersion() noexcept;
std::int32_t getInferLibPatchVersion() noexcept;
std::int32_t getInferLibBuildVersion() noexcept;
}
