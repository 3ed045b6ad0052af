// A session runs one stage: named tensors in, tensors out in the order of the manifest. Backends differ here only.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <variant>
#include <vector>

#include "bundle.hpp"

namespace m8d::core {

using Shape = std::vector<std::int64_t>;

struct Tensor {
    Shape shape;
    std::variant<std::vector<float>, std::vector<std::int64_t>> data;

    std::vector<float> &floats() { return std::get<std::vector<float>>(data); }
    std::vector<std::int64_t> &integers() { return std::get<std::vector<std::int64_t>>(data); }
};

using Feeds = std::map<std::string, Tensor>;

class Session {
  public:
    virtual ~Session() = default;
    // May be called by several threads at once.
    virtual std::map<std::string, Tensor> run(Feeds feeds) = 0;
};

// What opens sessions; made once per pipeline.
class Backend {
  public:
    virtual ~Backend() = default;
    virtual std::unique_ptr<Session> open(const Bundle &bundle, const std::string &stage) = 0;
};

// `provider` is "cpu", or the TensorRT that was built in. Throws Error(M8D_BAD_PROVIDER).
std::unique_ptr<Backend> make_backend(const std::string &provider, int threads);
std::unique_ptr<Backend> make_tensorrt_backend();

// The sessions of one pipeline, each opened when a stage is first run.
class Sessions {
  public:
    Sessions(const Bundle &bundle, std::unique_ptr<Backend> backend) : bundle_(bundle), backend_(std::move(backend)) {}
    std::map<std::string, Tensor> run(const std::string &stage, Feeds feeds);

  private:
    const Bundle &bundle_;
    std::unique_ptr<Backend> backend_;
    std::map<std::string, std::unique_ptr<Session>> open_;
    std::mutex mutex_;
};

}  // namespace m8d::core
