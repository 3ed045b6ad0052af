#include <NvInferRuntime.h>
#include <onnxruntime_cxx_api.h>

#include <cstdlib>
#include <cstring>
#include <map>
#include <memory>
#include <string>
#include <vector>

namespace {

using namespace nvinfer1;

struct Names {
    std::vector<std::string> texts;
    std::vector<const char *> pointers;

    void add(std::string text) { texts.push_back(std::move(text)); }
    const char *const *get() {
        pointers.clear();
        for (const auto &text : texts) pointers.push_back(text.c_str());
        return pointers.data();
    }
};

class Engine : public ICudaEngine {
  public:
    Engine(const void *onnx, std::size_t bytes) : session(env, onnx, bytes, Ort::SessionOptions()) {
        Ort::AllocatorWithDefaultOptions allocator;
        for (std::size_t i = 0; i < session.GetInputCount(); i++) {
            inputs.add(session.GetInputNameAllocated(i, allocator).get());
            types[inputs.texts.back()] = session.GetInputTypeInfo(i).GetTensorTypeAndShapeInfo().GetElementType();
        }
        for (std::size_t i = 0; i < session.GetOutputCount(); i++) {
            outputs.add(session.GetOutputNameAllocated(i, allocator).get());
            types[outputs.texts.back()] = session.GetOutputTypeInfo(i).GetTensorTypeAndShapeInfo().GetElementType();
        }
    }
    IExecutionContext *createExecutionContext() noexcept override;
    DataType getTensorDataType(const char *name) const noexcept override {
        return types.at(name) == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? DataType::kINT64 : DataType::kFLOAT;
    }

    Ort::Env env;
    Ort::Session session;
    Names inputs, outputs;
    std::map<std::string, ONNXTensorElementDataType> types;
};

// Bytes of a shape; both element types of a bundle are known by their sizes.
std::size_t bytes_of(ONNXTensorElementDataType type, const std::vector<std::int64_t> &shape) {
    std::size_t bytes = type == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64 ? 8 : 4;
    for (const auto size : shape) bytes *= static_cast<std::size_t>(size);
    return bytes;
}

class Context : public IExecutionContext {
  public:
    explicit Context(Engine &engine) : engine_(engine) {}

    bool setOptimizationProfileAsync(std::int32_t profile, cudaStream_t) noexcept override { return profile >= 0; }

    bool setInputShape(const char *name, const Dims &dims) noexcept override {
        shapes_[name].assign(dims.d, dims.d + dims.nbDims);
        return true;
    }

    bool setTensorAddress(const char *name, void *address) noexcept override {
        addresses_[name] = address;
        return true;
    }

    // The real one infers shapes; this one has to run the graph for them.
    Dims getTensorShape(const char *name) const noexcept override {
        const auto results = run();
        for (std::size_t i = 0; i < results.size(); i++) {
            if (engine_.outputs.texts[i] != name) continue;
            const auto shape = results[i].GetTensorTypeAndShapeInfo().GetShape();
            Dims dims{static_cast<std::int32_t>(shape.size()), {}};
            std::copy(shape.begin(), shape.end(), dims.d);
            return dims;
        }
        return {-1, {}};
    }

    bool enqueueV3(cudaStream_t) noexcept override {
        const auto results = run();
        for (std::size_t i = 0; i < results.size(); i++) {
            const auto &name = engine_.outputs.texts[i];
            const auto shape = results[i].GetTensorTypeAndShapeInfo().GetShape();
            std::memcpy(addresses_.at(name), results[i].GetTensorRawData(), bytes_of(engine_.types.at(name), shape));
        }
        return true;
    }

  private:
    std::vector<Ort::Value> run() const {
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        std::vector<Ort::Value> values;
        for (const auto &name : engine_.inputs.texts) {
            const auto &shape = shapes_.at(name);
            const auto type = engine_.types.at(name);
            values.push_back(Ort::Value::CreateTensor(memory, addresses_.at(name), bytes_of(type, shape), shape.data(),
                                                      shape.size(), type));
        }
        const auto *inputs = engine_.inputs.get();
        const auto *outputs = engine_.outputs.get();
        return engine_.session.Run(Ort::RunOptions(), inputs, values.data(), values.size(), outputs,
                                   engine_.outputs.texts.size());
    }

    Engine &engine_;
    std::map<std::string, std::vector<std::int64_t>> shapes_;
    std::map<std::string, void *> addresses_;
};

IExecutionContext *Engine::createExecutionContext() noexcept { return new Context(*this); }

class Runtime : public IRuntime {
  public:
    explicit Runtime(ILogger &logger) : logger_(logger) {}
    ICudaEngine *deserializeCudaEngine(const void *data, std::size_t bytes) noexcept override {
        try {
            return new Engine(data, bytes);
        } catch (const std::exception &error) {
            logger_.log(ILogger::Severity::kERROR, error.what());
            return nullptr;
        }
    }

  private:
    ILogger &logger_;
};

}  // namespace

IRuntime *nvinfer1::createInferRuntime(ILogger &logger) noexcept { return new Runtime(logger); }

extern "C" {
std::int32_t getInferLibMajorVersion() noexcept { return 11; }
std::int32_t getInferLibMinorVersion() noexcept { return 1; }
std::int32_t getInferLibPatchVersion() noexcept { return 0; }
std::int32_t getInferLibBuildVersion() noexcept { return 106; }

cudaError_t cudaGetDevice(int *device) {
    *device = 0;
    return std::getenv("M8D_DOUBLE_NO_GPU") ? cudaErrorNoDevice : cudaSuccess;
}
cudaError_t cudaDeviceGetAttribute(int *value, cudaDeviceAttr attribute, int) {
    *value = attribute == cudaDevAttrComputeCapabilityMajor ? 8 : 9;
    return cudaSuccess;
}
const char *cudaGetErrorString(cudaError_t) { return "no CUDA-capable device is detected"; }
cudaError_t cudaMalloc(void **address, std::size_t bytes) {
    *address = std::malloc(bytes);
    return *address ? cudaSuccess : cudaErrorMemoryAllocation;
}
cudaError_t cudaFree(void *address) {
    std::free(address);
    return cudaSuccess;
}
cudaError_t cudaMemcpyAsync(void *to, const void *from, std::size_t bytes, cudaMemcpyKind, cudaStream_t) {
    std::memcpy(to, from, bytes);
    return cudaSuccess;
}
cudaError_t cudaStreamCreate(cudaStream_t *stream) {
    *stream = nullptr;
    return cudaSuccess;
}
cudaError_t cudaStreamDestroy(cudaStream_t) { return cudaSuccess; }
cudaError_t cudaStreamSynchronize(cudaStream_t) { return cudaSuccess; }
}
