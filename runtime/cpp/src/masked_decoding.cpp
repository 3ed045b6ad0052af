#include "masked_decoding.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

namespace m8d::core {
namespace {

constexpr double min_temperature = 1e-3, single_step_temperature = 0.2;
constexpr float pi = 3.14159265358979323846f;

// The time of a step, rounded as the reference rounds it.
float time_of(int step, int steps) { return static_cast<float>(1.0 - step * (1.0 / steps)); }

}  // namespace

LayerDecoding::LayerDecoding(Sessions &sessions, const std::string &model, const Context &context,
                             std::vector<std::int64_t> codes, int layers, int layer, int num_codes, NoiseStream noise,
                             const LayerSampling &sampling)
    : sessions_(sessions), model_(model), context_(context), codes_(std::move(codes)), layers_(layers), layer_(layer),
      num_codes_(num_codes), noise_(noise), sampling_(sampling),
      frames_(static_cast<std::int64_t>(codes_.size()) / layers), masked_(static_cast<std::size_t>(frames_), true) {
    for (std::int64_t i = 0; i < frames_; i++) codes_[static_cast<std::size_t>(i * layers_ + layer_)] = num_codes_;
}

std::vector<std::int64_t> LayerDecoding::run(const std::function<void(int)> &stepped) {
    for (int i = 0; i < sampling_.steps; i++) {
        step(i);
        const bool settled = std::find(masked_.begin(), masked_.end(), true) == masked_.end();
        stepped(settled ? sampling_.steps - i : 1);
        if (settled) break;
    }
    return codes_;
}

void LayerDecoding::step(int step) {
    std::vector<std::int64_t> rows;
    for (std::int64_t i = 0; i < frames_; i++)
        if (masked_[static_cast<std::size_t>(i)]) rows.push_back(i);
    const float t = time_of(step, sampling_.steps);
    const auto count = static_cast<std::int64_t>(rows.size());
    Feeds feeds;
    feeds["hidden"] = {{1, count, context_.width}, hidden(step, rows)};
    feeds["layer"] = {{1}, std::vector<std::int64_t>{layer_}};
    const auto logits = std::move(sessions_.run(model_ + "_head", std::move(feeds)).at("logits").floats());

    const auto remaining = static_cast<std::size_t>(masked_count(step + 1));
    std::vector<float> scores(rows.size());
    for (std::size_t i = 0; i < rows.size(); i++) {
        const auto candidates = top_k(logits.data() + i * static_cast<std::size_t>(num_codes_));
        const auto chosen = choose(candidates, rows[i], step, t);
        codes_[static_cast<std::size_t>(rows[i] * layers_ + layer_)] = candidates.codes[chosen];
        if (!remaining) continue;
        const float largest = *std::max_element(candidates.logits.begin(), candidates.logits.end());
        float sum = 0;
        for (const float logit : candidates.logits) sum += std::exp(logit - largest);
        const float confidence = std::exp(candidates.logits[chosen] - largest) / sum;
        const float shake = gumbel(noise_.uniform(Draw::remasking, static_cast<std::uint64_t>(step),
                                                  static_cast<std::uint64_t>(rows[i])));
        scores[i] = 1.0f - (t * shake + confidence);
    }
    std::vector<std::size_t> order(rows.size());
    std::iota(order.begin(), order.end(), std::size_t{0});
    std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) { return scores[a] > scores[b]; });
    std::fill(masked_.begin(), masked_.end(), false);
    for (std::size_t i = 0; i < std::min(remaining, order.size()); i++) {
        const auto row = rows[order[i]];
        masked_[static_cast<std::size_t>(row)] = true;
        codes_[static_cast<std::size_t>(row * layers_ + layer_)] = num_codes_;
    }
}

std::vector<float> LayerDecoding::hidden(int step, const std::vector<std::int64_t> &rows) {
    if (sampling_.guidance <= 0 || context_.prompt == 0) return backbone(step, rows, false);
    // The deviation that guidance restores is over every target frame, so all are computed.
    std::vector<std::int64_t> every(static_cast<std::size_t>(frames_));
    std::iota(every.begin(), every.end(), std::int64_t{0});
    const auto both = backbone(step, every, true);
    const auto half = static_cast<std::ptrdiff_t>(both.size() / 2);
    const Shape shape{1, frames_, context_.width};
    Feeds feeds;
    feeds["conditional"] = {shape, std::vector<float>(both.begin(), both.begin() + half)};
    feeds["unconditional"] = {shape, std::vector<float>(both.begin() + half, both.end())};
    feeds["guidance"] = {{1}, std::vector<float>{sampling_.guidance}};
    feeds["rescale"] = {{1}, std::vector<float>{sampling_.rescale}};
    const auto guided = std::move(sessions_.run("guidance", std::move(feeds)).at("guided").floats());
    std::vector<float> chosen;
    for (const auto row : rows) {
        const auto begin = guided.begin() + row * context_.width;
        chosen.insert(chosen.end(), begin, begin + context_.width);
    }
    return chosen;
}

// Hidden states of target frames `rows`; guided, of the sequence with its prompt and then of the target alone, in one
// call: rows see their own segment only.
std::vector<float> LayerDecoding::backbone(int step, const std::vector<std::int64_t> &rows, bool guided) {
    const auto whole = context_.prompt + frames_, size = whole + (guided ? frames_ : 0);
    std::vector<std::int64_t> codes = context_.prefix, positions, segments, wanted;
    std::vector<float> condition = context_.condition;
    codes.insert(codes.end(), codes_.begin(), codes_.end());
    for (const auto row : rows) wanted.push_back(row + context_.prompt);
    if (guided) {
        codes.insert(codes.end(), codes_.begin(), codes_.end());
        condition.insert(condition.end(), context_.condition.begin() + context_.prompt * context_.width,
                         context_.condition.end());
        for (const auto row : rows) wanted.push_back(row + whole);
    }
    for (std::int64_t i = 0; i < size; i++) {
        positions.push_back(i < whole ? i : i - whole);
        segments.push_back(i < whole ? 0 : 1);
    }
    const auto scales = context_.scales.begin() + step * context_.norms * context_.width;
    Feeds feeds;
    feeds["codes"] = {{1, size, layers_}, std::move(codes)};
    feeds["condition"] = {{1, size, context_.width}, std::move(condition)};
    feeds["scales"] = {{1, context_.norms, context_.width},
                       std::vector<float>(scales, scales + context_.norms * context_.width)};
    feeds["positions"] = {{1, size}, std::move(positions)};
    feeds["segments"] = {{1, size}, std::move(segments)};
    const auto count = static_cast<std::int64_t>(wanted.size());
    feeds["rows"] = {{1, count}, std::move(wanted)};
    return std::move(sessions_.run(model_ + "_backbone", std::move(feeds)).at("hidden").floats());
}

LayerDecoding::Candidates LayerDecoding::top_k(const float *logits) const {
    // Rounds as the reference's ceil((1 - 0.98) * K) does.
    const double ratio = static_cast<double>(sampling_.top_k_ratio);
    const auto decimal = std::round(ratio * 1e6) / 1e6;  // 0.02f is the number that was written as 0.02
    const auto count = std::min<std::size_t>(static_cast<std::size_t>(num_codes_),
                                             static_cast<std::size_t>(std::ceil((1 - (1 - decimal)) * num_codes_)));
    Candidates found;
    found.codes.resize(static_cast<std::size_t>(num_codes_));
    std::iota(found.codes.begin(), found.codes.end(), std::int64_t{0});
    std::nth_element(found.codes.begin(), found.codes.begin() + static_cast<std::ptrdiff_t>(count) - 1,
                     found.codes.end(), [&](auto a, auto b) { return logits[a] > logits[b]; });
    found.codes.resize(count);
    std::sort(found.codes.begin(), found.codes.end());
    for (const auto code : found.codes) found.logits.push_back(logits[code]);
    return found;
}

std::size_t LayerDecoding::choose(const Candidates &candidates, std::int64_t row, int step, float t) const {
    std::vector<float> values = candidates.logits;
    const bool greedy = sampling_.steps > 1 && step == sampling_.steps - 1;
    if (!greedy) {
        const double wanted = sampling_.steps > 1 ? static_cast<double>(sampling_.temperature) * static_cast<double>(t)
                                                  : single_step_temperature;
        const auto temperature = static_cast<float>(std::max(wanted, min_temperature));
        for (std::size_t i = 0; i < values.size(); i++) {
            const auto index = static_cast<std::uint64_t>(row * num_codes_ + candidates.codes[i]);
            const float noise = gumbel(noise_.uniform(Draw::sampling, static_cast<std::uint64_t>(step), index));
            values[i] = values[i] / temperature + noise;
        }
    }
    return static_cast<std::size_t>(std::max_element(values.begin(), values.end()) - values.begin());
}

// How many frames are masked at the start of `step`; in float32 throughout, as rounding decides near whole numbers.
int LayerDecoding::masked_count(int step) const {
    if (step >= sampling_.steps) return 0;
    const float angle = time_of(step, sampling_.steps) * pi / 2.0f;
    const auto sine = static_cast<float>(std::sin(static_cast<double>(angle)));
    return static_cast<int>(sine * static_cast<float>(frames_));
}

}  // namespace m8d::core
