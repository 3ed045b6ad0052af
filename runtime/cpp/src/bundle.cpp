#include "bundle.hpp"

#include <array>
#include <fstream>
#include <nlohmann/json.hpp>

#include "error.hpp"
#include "sha256.hpp"

namespace m8d::core {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr int oldest_version = 1, newest_version = 2; // they differ in text to speech alone
constexpr std::uintmax_t hashed_on_load = 64u << 20;  // bytes; hashing gigabytes would take longer than loading them
const std::array required_stages = {
    "front_end",       "w2v_bert",          "semantic_encoder",   "semantic_quantizer", "acoustic_encoder",
    "s2a_1layer_condition", "s2a_1layer_backbone", "s2a_1layer_head", "s2a_full_condition", "s2a_full_backbone",
    "s2a_full_head",   "guidance",          "acoustic_decoder",
};

void check_file(const fs::path &folder, const std::string &name, const json &record, bool verify) {
    if (name.empty() || fs::path(name).filename() != name || name == ".." || name == ".")
        fail(M8D_BAD_BUNDLE, folder / "m8d.json", ": file name \"", name, "\" points outside the bundle. Rebuild it.");
    const fs::path path = folder / name;
    const auto bytes = record.at("bytes").get<std::uintmax_t>();
    std::error_code missing;
    const auto found = fs::file_size(path, missing);
    if (missing) fail(M8D_BAD_BUNDLE, path, " is missing. Copy the bundle again.");
    if (found != bytes)
        fail(M8D_BAD_BUNDLE, path, " has ", found, " bytes, expected ", bytes, ". Copy the bundle again.");
    if ((verify || bytes <= hashed_on_load) && sha256(path) != record.at("sha256").get<std::string>())
        fail(M8D_BAD_BUNDLE, path, " is damaged: its sha256 is not the manifest's. Copy it again, or rebuild.");
}

std::vector<std::string> names(const json &tensors) {
    std::vector<std::string> found;
    for (const auto &tensor : tensors) found.push_back(tensor.at("name").get<std::string>());
    return found;
}

Stage stage_of(const json &values, const json &files, const fs::path &folder) {
    const auto file = values.at("file").get<std::string>();
    Stage stage{folder / file, names(values.at("inputs")), names(values.at("outputs")), {}, {}};
    for (const char *key : {"file", "data"})
        if (values.at(key).is_string()) stage.hashes.push_back(files.at(values.at(key)).at("sha256"));
    for (const auto &tensor : values.at("inputs"))
        for (const auto &axis : tensor.at("shape"))
            stage.axes[tensor.at("name")].push_back(axis.is_string() ? axis.get<std::string>() : "");
    return stage;
}

Bundle parse(const json &manifest, const fs::path &folder, bool verify) {
    const int version = manifest.at("format_version");
    if (manifest.at("format") != "m8d-bundle" || version < oldest_version || version > newest_version)
        fail(M8D_BAD_BUNDLE, folder, " is of format ", manifest.at("format"), " version ", version,
             ", expected m8d-bundle version ", oldest_version, " to ", newest_version, ". Rebuild it.");
    for (const auto &[name, record] : manifest.at("files").items()) check_file(folder, name, record, verify);
    Bundle bundle;
    bundle.name = manifest.at("name");
    bundle.folder = folder;
    const auto &model = manifest.at("model");
    auto number = [&](const char *name) {
        const int value = model.at(name).get<int>();
        if (value <= 0) fail(M8D_BAD_BUNDLE, folder, ": ", name, " is ", value, ", expected more than 0. Rebuild it.");
        return value;
    };
    bundle.model = {number("semantic_sample_rate"), number("acoustic_sample_rate"), number("frame_rate"),
                    number("hop_size"), number("min_semantic_samples"), number("latent_dim"),
                    number("acoustic_codebook_size"), number("num_quantizers"), number("max_positions")};
    const auto &sampling = manifest.at("sampling");
    bundle.sampling = {sampling.at("coarse_steps"), sampling.at("fine_steps").get<std::vector<int>>(),
                       sampling.at("coarse_guidance"), sampling.at("fine_guidance"), sampling.at("rescale"),
                       sampling.at("temperature"), sampling.at("top_k_ratio"), sampling.at("prompt_seconds")};
    if (bundle.sampling.fine_steps.size() + 1 != static_cast<std::size_t>(bundle.model.num_quantizers))
        fail(M8D_BAD_BUNDLE, folder, ": fine_steps has ", bundle.sampling.fine_steps.size(), " numbers, expected ",
             bundle.model.num_quantizers - 1, ". Rebuild it.");
    for (const auto &[name, stage] : manifest.at("stages").items()) {
        const auto file = stage.at("file").get<std::string>();
        if (!manifest.at("files").contains(file))
            fail(M8D_BAD_BUNDLE, folder, ": stage ", name, " names a file that is not listed. Rebuild it.");
        bundle.stages[name] = stage_of(stage, manifest.at("files"), folder);
    }
    for (const char *name : required_stages) bundle.stage(name);
    return bundle;
}

}  // namespace

Bundle Bundle::open(const fs::path &folder, bool verify) {
    std::ifstream file(folder / "m8d.json", std::ios::binary);
    if (!file) fail(M8D_BAD_BUNDLE, "No bundle at ", folder, ": expected a folder with an m8d.json.");
    try {
        return parse(json::parse(file), folder, verify);
    } catch (const json::exception &error) {
        fail(M8D_BAD_BUNDLE, folder / "m8d.json", " is not a manifest (", error.what(), "). Rebuild the bundle.");
    }
}

const Stage &Bundle::stage(const std::string &name) const {
    const auto found = stages.find(name);
    if (found == stages.end()) fail(M8D_BAD_BUNDLE, "The bundle ", this->name, " has no stage ", name, ". Rebuild it.");
    return found->second;
}

}  // namespace m8d::core
