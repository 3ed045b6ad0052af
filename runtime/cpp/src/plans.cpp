#include "plans.hpp"

#include <algorithm>
#include <fstream>
#include <iterator>
#include <nlohmann/json.hpp>
#include <optional>

#include "error.hpp"
#include "sha256.hpp"

namespace m8d::core {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

struct Description {
    fs::file_time_type built;
    fs::path folder;
    json values;
};

// Descriptions of the stage's plans, the last built first; what cannot be read is no description.
std::vector<Description> descriptions(const Bundle &bundle, const std::string &stage) {
    std::vector<Description> found;
    std::error_code none;
    for (const auto &folder : fs::directory_iterator(bundle.folder / "engines", none)) {
        const fs::path path = folder.path() / (stage + ".json");
        if (folder.path().filename().string().front() == '.' || !fs::is_regular_file(path)) continue;
        std::ifstream file(path);
        auto values = json::parse(file, nullptr, false);
        if (values.is_object()) found.push_back({fs::last_write_time(path), folder.path(), std::move(values)});
    }
    std::sort(found.begin(), found.end(), [](const auto &a, const auto &b) { return a.built > b.built; });
    return found;
}

bool serves(const json &values, const PlanTarget &target) {
    const json built = values.value("target", json::object());
    const json capabilities = built.value("capabilities", json::array());
    return built.value("name", "") == target.name && built.value("version", "") == target.version &&
           std::find(capabilities.begin(), capabilities.end(), target.capability) != capabilities.end();
}

std::vector<Profile> profiles_of(const json &values) {
    std::vector<Profile> profiles;
    for (const auto &given : values.at("profiles")) {
        Profile profile;
        for (const auto &[axis, range] : given.items()) profile[axis] = {range.at("min"), range.at("max")};
        profiles.push_back(std::move(profile));
    }
    if (profiles.empty()) throw json::other_error::create(501, "no profile", nullptr);
    return profiles;
}

std::optional<std::string> outside(const Stage &stage, const Profile &profile,
                                   const std::map<std::string, std::vector<std::int64_t>> &shapes) {
    for (const auto &[name, axes] : stage.axes) {
        const auto &shape = shapes.at(name);
        for (std::size_t i = 0; i < axes.size(); i++) {
            const auto range = profile.find(axes[i]);  // an axis of fixed size has no letter
            if (range == profile.end()) continue;
            const auto [least, most] = range->second;
            if (shape.at(i) < least || shape.at(i) > most)
                return "input " + name + ": axis " + axes[i] + " has size " + std::to_string(shape[i]) +
                       ", the plan serves " + std::to_string(least) + " to " + std::to_string(most);
        }
    }
    return std::nullopt;
}

}  // namespace

Plan read_plan(const Bundle &bundle, const std::string &stage, const PlanTarget &target) {
    std::string rebuild = "Build it with `m8d-export engines " + bundle.folder.string() + " --target " + target.name;
    if (target.name == "tensorrt-rtx") rebuild += " --compute-capability " + target.capability;
    rebuild += "`.";
    for (const auto &[built, folder, values] : descriptions(bundle, stage)) {
        if (!serves(values, target)) continue;
        try {
            if (values.at("graph_sha256").get<std::vector<std::string>>() != bundle.stage(stage).hashes)
                fail(M8D_BAD_BUNDLE, "The plan of ", stage, " in ", folder, " was built from another graph. Remove it. ",
                     rebuild);
            const fs::path path = folder / (stage + ".plan");
            std::ifstream file(path, std::ios::binary);
            Plan plan{{std::istreambuf_iterator<char>(file), {}}, profiles_of(values)};
            if (!file || sha256(path) != values.at("plan_sha256").get<std::string>())
                fail(M8D_BAD_BUNDLE, "The plan of ", stage, " in ", folder, " is damaged. Remove ", folder, ". ", rebuild);
            return plan;
        } catch (const json::exception &error) {
            fail(M8D_BAD_BUNDLE, folder / (stage + ".json"), " does not describe a plan (", error.what(), "). Remove ",
                 folder, ". ", rebuild);
        }
    }
    fail(M8D_BAD_BUNDLE, "The bundle at ", bundle.folder, " has no plan of ", stage, " for ", target.name, " ",
         target.version, " and compute capability ", target.capability, ". ", rebuild);
}

std::size_t choose_profile(const Stage &stage, const std::vector<Profile> &profiles,
                           const std::map<std::string, std::vector<std::int64_t>> &shapes) {
    for (std::size_t i = 0; i < profiles.size(); i++)
        if (!outside(stage, profiles[i], shapes)) return i;
    fail(M8D_INVALID_ARGUMENT, stage.file.stem(), ", ", *outside(stage, profiles.back(), shapes),
         ". Cut the audio, or build plans with a larger --max-seconds.");
}

}  // namespace m8d::core
