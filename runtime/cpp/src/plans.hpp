// TensorRT plans in a bundle: `engines/<key>/<stage>.plan` with a description `<stage>.json`, see docs/tensorrt.md.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "bundle.hpp"

namespace m8d::core {

// What a plan has to have been built for.
struct PlanTarget {
    std::string name, version, capability;  // such as tensorrt, 11.1.0.106, 8.9
};

// The range of each letter in the shapes of a stage's inputs.
using Profile = std::map<std::string, std::pair<std::int64_t, std::int64_t>>;

struct Plan {
    std::vector<char> data;
    std::vector<Profile> profiles;  // the shortest lengths first
};

// The plan of `stage` that was built last for `target`. Throws Error(M8D_BAD_BUNDLE) when there is none, when the graph
// has changed since, or when it is damaged.
Plan read_plan(const Bundle &bundle, const std::string &stage, const PlanTarget &target);

// The first profile that serves `shapes`, by name of input. Throws Error(M8D_INVALID_ARGUMENT) naming the limit.
std::size_t choose_profile(const Stage &stage, const std::vector<Profile> &profiles,
                           const std::map<std::string, std::vector<std::int64_t>> &shapes);

}  // namespace m8d::core
