// Stages as TensorRT plans; for TensorRT and TensorRT-RTX alike. Not run on a GPU yet, see docs/embedding.md.
#include <NvInferRuntime.h>
#include <cuda_runtime_api.h>

#include <algorithm>
#include <numeric>

#include "error.hpp"
#include "plans.hpp"
#include "session.hpp"

namespace m8d::core {
namespace {

void check(cudaError_t status, const char *what) {
    if (status == cudaErrorMemoryAllocation) throw std::bad_alloc();
    if (status != cudaSuccess) fail(M8D_BAD_PROVIDER, M8D_TENSORRT ": could not ", what, ": ", cudaGetErrorString(status), ".");
}

void demand(bool done, const std::string &stage, const char *what) {
    if (!done) fail(M8D_BAD_BUNDLE, M8D_TENSORRT " could not ", what, " of stage ", stage, ". Rebuild the plans.");
}

class Logger : public nvinfer1::ILogger {
  public:
    void log(Severity severity, const char *text) noexcept override {
        if (severity <= Severity::kERROR) last = text;
    }
    std::string last;
};

// Device memory that only grows.
class Buffer {
  public:
    Buffer() = default;
    Buffer(const Buffer &) = delete;
    Buffer &operator=(const Buffer &) = delete;
    ~Buffer() { cudaFree(data_); }

    void *of(std::size_t bytes) {
        if (bytes > size_) {
            cudaFree(data_);
            data_ = nullptr;
            size_ = 0;
            check(cudaMalloc(&data_, bytes), "allocate memory of the GPU");
            size_ = bytes;
        }
        return data_;
    }

  private:
    void *data_ = nullptr;
    std::size_t size_ = 0;
};

class Stream {
  public:
    Stream() { check(cudaStreamCreate(&handle), "make a stream"); }
    Stream(const Stream &) = delete;
    Stream &operator=(const Stream &) = delete;
    ~Stream() { cudaStreamDestroy(handle); }
    cudaStream_t handle;
};

std::size_t count(const nvinfer1::Dims &dims) {
    return std::accumulate(dims.d, dims.d + dims.nbDims, std::size_t{1},
                           [](std::size_t product, auto size) { return product * static_cast<std::size_t>(size); });
}

class PlanSession : public Session {
  public:
    PlanSession(std::string name, const Stage &stage, std::vector<Profile> profiles,
                std::unique_ptr<nvinfer1::ICudaEngine> engine)
        : name_(std::move(name)), stage_(stage), profiles_(std::move(profiles)), engine_(std::move(engine)),
          context_(engine_->createExecutionContext()) {
        if (!context_) throw std::bad_alloc();
    }

    std::map<std::string, Tensor> run(Feeds feeds) override {
        std::map<std::string, Shape> shapes;
        for (const auto &input : stage_.inputs) shapes[input] = feeds.at(input).shape;
        const auto profile = choose_profile(stage_, profiles_, shapes);
        std::lock_guard<std::mutex> lock(mutex_);  // one context, one set of buffers
        demand(context_->setOptimizationProfileAsync(static_cast<int>(profile), stream_.handle), name_, "select the profile");
        for (const auto &input : stage_.inputs) put(input, feeds.at(input));
        std::map<std::string, Tensor> results;
        for (const auto &output : stage_.outputs) results[output] = prepared(output);
        demand(context_->enqueueV3(stream_.handle), name_, "run the plan");
        for (auto &[output, tensor] : results) std::visit([&, &output = output](auto &data) {
            const auto bytes = data.size() * sizeof(data[0]);
            check(cudaMemcpyAsync(data.data(), buffers_[output].of(bytes), bytes, cudaMemcpyDeviceToHost, stream_.handle),
                  "read a result");
        }, tensor.data);
        check(cudaStreamSynchronize(stream_.handle), "finish a stage");
        return results;
    }

  private:
    void put(const std::string &input, Tensor &tensor) {
        nvinfer1::Dims dims{};
        dims.nbDims = static_cast<std::int32_t>(tensor.shape.size());
        std::copy(tensor.shape.begin(), tensor.shape.end(), dims.d);
        std::visit([&](auto &data) {
            const auto bytes = data.size() * sizeof(data[0]);
            void *address = buffers_[input].of(bytes);
            check(cudaMemcpyAsync(address, data.data(), bytes, cudaMemcpyHostToDevice, stream_.handle), "send an input");
            demand(context_->setTensorAddress(input.c_str(), address), name_, "bind an input");
        }, tensor.data);
        demand(context_->setInputShape(input.c_str(), dims), name_, "take the shape of an input");
    }

    // A tensor of the output's size; the address where the plan will write it is bound.
    Tensor prepared(const std::string &output) {
        const auto dims = context_->getTensorShape(output.c_str());
        demand(std::all_of(dims.d, dims.d + std::max(dims.nbDims, 0), [](auto size) { return size >= 0; }), name_,
               "tell the size of an output");
        Tensor tensor;
        tensor.shape.assign(dims.d, dims.d + dims.nbDims);
        if (engine_->getTensorDataType(output.c_str()) == nvinfer1::DataType::kINT64)
            tensor.data = std::vector<std::int64_t>(count(dims));
        else
            tensor.data = std::vector<float>(count(dims));
        const auto bytes = count(dims) * static_cast<std::size_t>(tensor.data.index() ? sizeof(std::int64_t) : sizeof(float));
        demand(context_->setTensorAddress(output.c_str(), buffers_[output].of(bytes)), name_, "bind an output");
        return tensor;
    }

    std::string name_;
    const Stage &stage_;
    std::vector<Profile> profiles_;
    Stream stream_;
    std::map<std::string, Buffer> buffers_;
    std::unique_ptr<nvinfer1::ICudaEngine> engine_;
    std::unique_ptr<nvinfer1::IExecutionContext> context_;
    std::mutex mutex_;
};

class TensorRtBackend : public Backend {
  public:
    TensorRtBackend() {
        int device = 0, major = 0, minor = 0;
        check(cudaGetDevice(&device), "find a GPU");
        check(cudaDeviceGetAttribute(&major, cudaDevAttrComputeCapabilityMajor, device), "ask the GPU what it is");
        check(cudaDeviceGetAttribute(&minor, cudaDevAttrComputeCapabilityMinor, device), "ask the GPU what it is");
        std::ostringstream version;
        version << getInferLibMajorVersion() << '.' << getInferLibMinorVersion() << '.' << getInferLibPatchVersion() << '.'
                << getInferLibBuildVersion();
        target_ = {M8D_TENSORRT, version.str(), std::to_string(major) + '.' + std::to_string(minor)};
        runtime_.reset(nvinfer1::createInferRuntime(logger_));
        if (!runtime_) fail(M8D_BAD_PROVIDER, M8D_TENSORRT " ", target_.version, " could not start: ", logger_.last);
    }

    std::unique_ptr<Session> open(const Bundle &bundle, const std::string &stage) override {
        const Plan plan = read_plan(bundle, stage, target_);
        std::unique_ptr<nvinfer1::ICudaEngine> engine(runtime_->deserializeCudaEngine(plan.data.data(), plan.data.size()));
        if (!engine) fail(M8D_BAD_BUNDLE, M8D_TENSORRT " ", target_.version, " cannot load the plan of ", stage, ": ", logger_.last);
        return std::make_unique<PlanSession>(stage, bundle.stage(stage), plan.profiles, std::move(engine));
    }

  private:
    Logger logger_;
    PlanTarget target_;
    std::unique_ptr<nvinfer1::IRuntime> runtime_;
};

}  // namespace

std::unique_ptr<Backend> make_tensorrt_backend() { return std::make_unique<TensorRtBackend>(); }

}  // namespace m8d::core
