#include <cstdio>
#include <m8d.hpp>

int main(int count, char **arguments) {
    if (count != 2) return 2;
    const m8d_info info = m8d::Pipeline(arguments[1]).info();
    std::printf("m8d %s: %d-D latents at %d Hz\n", m8d_version(), info.latent_dim, info.frame_rate);
}
