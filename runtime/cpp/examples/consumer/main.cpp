#include <cstdio>
#include <m8d.hpp>
#include <vector>

// Opens a bundle and takes a tone through its latents and back.
int main(int count, char **arguments) {
    if (count != 2) return 2;
    m8d::Pipeline pipeline(arguments[1], 1);
    const m8d_info info = pipeline.info();
    std::vector<float> tone(16000);
    for (std::size_t i = 0; i < tone.size(); i++) tone[i] = (i / 40 % 2) ? 0.1f : -0.1f;
    const auto latents = pipeline.encode(tone, 16000);
    const auto codes = pipeline.semantic_codes(latents);
    m8d_sampling sampling = pipeline.sampling();
    sampling.coarse_steps = sampling.second_steps = 1;
    const auto audio = pipeline.decode(latents, nullptr, sampling);
    std::printf("m8d %s: %d-D latents at %d Hz, %zu codes, %zu samples\n", m8d_version(), info.latent_dim, info.frame_rate,
                codes.size(), audio.size());
}
