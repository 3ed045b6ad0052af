#include "session.hpp"

#include <onnxruntime_cxx_api.h>

#include "error.hpp"

namespace m8d::core {
namespace {

class OnnxRuntimeSession : public Session {
  public:
    OnnxRuntimeSession(Ort::Env &env, const Stage &stage, const Ort::SessionOptions &options)
        : stage_(stage), session_(env, stage.file.c_str(), options) {}

    std::map<std::string, Tensor> run(Feeds feeds) override {
        std::vector<const char *> inputs, outputs;
        std::vector<Ort::Value> values;
        const auto memory = Ort::MemoryInfo::CreateCpu(OrtArenaAllocator, OrtMemTypeDefault);
        for (const auto &name : stage_.inputs) {
            inputs.push_back(name.c_str());
            Tensor &tensor = feeds.at(name);
            std::visit([&](auto &data) {
                values.push_back(Ort::Value::CreateTensor(memory, data.data(), data.size(), tensor.shape.data(),
                                                          tensor.shape.size()));
            }, tensor.data);
        }
        for (const auto &name : stage_.outputs) outputs.push_back(name.c_str());
        auto results = session_.Run(Ort::RunOptions(), inputs.data(), values.data(), values.size(), outputs.data(),
                                    outputs.size());
        std::map<std::string, Tensor> tensors;
        for (std::size_t i = 0; i < results.size(); i++) tensors.emplace(outputs[i], copied(results[i]));
        return tensors;
    }

  private:
    static Tensor copied(const Ort::Value &value) {
        const auto info = value.GetTensorTypeAndShapeInfo();
        const auto count = info.GetElementCount();
        if (info.GetElementType() == ONNX_TENSOR_ELEMENT_DATA_TYPE_INT64) {
            const auto *data = value.GetTensorData<std::int64_t>();
            return {info.GetShape(), std::vector<std::int64_t>(data, data + count)};
        }
        const auto *data = value.GetTensorData<float>();
        return {info.GetShape(), std::vector<float>(data, data + count)};
    }

    const Stage &stage_;
    Ort::Session session_;
};

class OnnxRuntimeBackend : public Backend {
  public:
    explicit OnnxRuntimeBackend(int threads) : env_(ORT_LOGGING_LEVEL_ERROR, "m8d") {
        options_.SetIntraOpNumThreads(threads);
        // Every session has its own threads, which would wait for more work by spinning while another session runs.
        options_.AddConfigEntry("session.force_spinning_stop", "1");
        options_.SetLogSeverityLevel(ORT_LOGGING_LEVEL_ERROR);
    }

    std::unique_ptr<Session> open(const Bundle &bundle, const std::string &name) override {
        const Stage &stage = bundle.stage(name);
        try {
            return std::make_unique<OnnxRuntimeSession>(env_, stage, options_);
        } catch (const Ort::Exception &error) {
            fail(M8D_BAD_BUNDLE, stage.file, " cannot be loaded by ONNX Runtime ", Ort::GetVersionString(), ": ",
                 error.what());
        }
    }

  private:
    Ort::Env env_;
    Ort::SessionOptions options_;
};

}  // namespace

std::unique_ptr<Backend> make_backend(const std::string &provider, int threads) {
    if (threads < 0) fail(M8D_INVALID_ARGUMENT, "threads: received ", threads, ", expected 0 or more.");
    if (provider == "cpu") return std::make_unique<OnnxRuntimeBackend>(threads);
#ifdef M8D_TENSORRT
    if (provider == M8D_TENSORRT) return make_tensorrt_backend();
    fail(M8D_BAD_PROVIDER, "Provider \"", provider, "\" was asked for, but this library has only: cpu, " M8D_TENSORRT ".");
#else
    fail(M8D_BAD_PROVIDER, "Provider \"", provider, "\" was asked for, but this library has only: cpu.");
#endif
}

std::map<std::string, Tensor> Sessions::run(const std::string &name, Feeds feeds) {
    Session *session = nullptr;
    {
        std::lock_guard<std::mutex> lock(mutex_);
        auto &slot = open_[name];
        if (!slot) slot = backend_->open(bundle_, name);
        session = slot.get();
    }
    return session->run(std::move(feeds));
}

}  // namespace m8d::core
