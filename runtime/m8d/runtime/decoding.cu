// Masked decoding on a GPU: what samplers.HostSampler does, one block per frame. No host value depends on the result.
//
// Random numbers are NumPy's Philox generator, draw by draw. Built with --fmad=false, so that sums round as NumPy's do;
// logarithms and exponentials may differ in the last bit. T frames, K codes, L layers.

typedef unsigned int u32;
typedef unsigned long long u64;

__device__ void philox4x64_10(u64 counter[4], u64 key0, u64 key1) {
    for (int round = 0; round < 10; ++round) {
        const u64 multiplier0 = 0xD2E7470EE14C6C93ull, multiplier1 = 0xCA5A826395121157ull;
        const u64 high0 = __umul64hi(multiplier0, counter[0]), low0 = multiplier0 * counter[0];
        const u64 high1 = __umul64hi(multiplier1, counter[2]), low1 = multiplier1 * counter[2];
        counter[0] = high1 ^ counter[1] ^ key0;
        counter[1] = low1;
        counter[2] = high0 ^ counter[3] ^ key1;
        counter[3] = low0;
        key0 += 0x9E3779B97F4A7C15ull;
        key1 += 0xBB67AE8584CAA73Bull;
    }
}

// The draw number `index` of Generator(Philox(key=[seed, 0], counter=[0, kind, step, layer])).random(dtype=float32).
__device__ float uniform(u64 seed, u64 kind, u64 step, u64 layer, u64 index) {
    u64 counter[4] = {index / 8 + 1, kind, step, layer};  // eight draws a block; NumPy counts before it generates
    philox4x64_10(counter, seed, 0);
    const u64 word = counter[index / 2 % 4];
    return (float)((u32)(index % 2 ? word >> 32 : word) >> 8) * (1.0f / 16777216.0f);
}

__device__ float gumbel(float number) { return -logf(-logf(number + 1e-10f) + 1e-10f); }

// Keys that sort as the numbers do, equal numbers by index, the first one highest. Never 0.
__device__ u64 sort_key(float number, int index) {
    const u32 bits = __float_as_uint(number + 0.0f);  // -0 becomes 0
    return (u64)(bits >> 31 ? ~bits : bits | 0x80000000u) << 32 | (0xFFFFFFFFu - (u32)index);
}

struct LogitKeys {
    const float* logits;
    __device__ u64 operator()(int i) const { return sort_key(logits[i], i); }
};

struct ScoreKeys {
    const float* scores;
    const bool* masked;
    __device__ u64 operator()(int i) const { return masked[i] ? sort_key(scores[i], i) : 0; }
};

// The smallest of the `count` largest keys, 0 < count <= size: radix selection by the whole block, eight bits a pass.
template <class Keys>
__device__ u64 selection_threshold(Keys key, int size, int count) {
    __shared__ int histogram[256];
    __shared__ u64 found;
    __shared__ int missing;
    if (threadIdx.x == 0) {
        found = 0;
        missing = count;
    }
    for (int shift = 56; shift >= 0; shift -= 8) {
        for (int i = threadIdx.x; i < 256; i += blockDim.x) histogram[i] = 0;
        __syncthreads();
        for (int i = threadIdx.x; i < size; i += blockDim.x) {
            const u64 k = key(i);
            if (shift == 56 || (k ^ found) >> (shift + 8) == 0) atomicAdd(&histogram[k >> shift & 255], 1);
        }
        __syncthreads();
        if (threadIdx.x == 0) {
            int bin = 255;
            for (; histogram[bin] < missing; --bin) missing -= histogram[bin];
            found |= (u64)bin << shift;
        }
        __syncthreads();
    }
    return found;
}

const int MAX_THREADS = 256;
const float LARGEST = 3.402823466e+38f;

// Chooses a code for every masked frame among its `kept` likeliest, and scores the frame for masking it again.
// A temperature of 0 takes the likeliest.
extern "C" __global__ void settle(const float* logits /* (T, K) */, const bool* masked /* (T) */,
                                  long long* codes /* (T, L) */, float* scores /* (T) */, int num_codes, int num_layers,
                                  int layer, int kept, u64 seed, u64 step, u64 noise_layer, float temperature, float t) {
    __shared__ float largest[MAX_THREADS], best[MAX_THREADS], sums[MAX_THREADS];
    __shared__ int choices[MAX_THREADS];
    const int frame = blockIdx.x, thread = threadIdx.x;
    if (!masked[frame]) return;
    const LogitKeys key = {logits + (u64)frame * num_codes};
    const u64 threshold = selection_threshold(key, num_codes, kept);

    largest[thread] = best[thread] = -LARGEST;
    choices[thread] = num_codes;
    for (int code = thread; code < num_codes; code += blockDim.x) {
        if (key(code) < threshold) continue;
        const float logit = key.logits[code];
        float value = logit;
        if (temperature > 0) {
            const u64 draw = (u64)frame * num_codes + code;
            value = logit / temperature + gumbel(uniform(seed, 0, step, noise_layer, draw));
        }
        largest[thread] = fmaxf(largest[thread], logit);
        if (value > best[thread]) {
            best[thread] = value;
            choices[thread] = code;
        }
    }
    __syncthreads();
    if (thread == 0) {
        for (int i = 1; i < blockDim.x; ++i) {
            largest[0] = fmaxf(largest[0], largest[i]);
            if (best[i] > best[0] || (best[i] == best[0] && choices[i] < choices[0])) {
                best[0] = best[i];
                choices[0] = choices[i];
            }
        }
    }
    __syncthreads();
    sums[thread] = 0;
    for (int code = thread; code < num_codes; code += blockDim.x)
        if (key(code) >= threshold) sums[thread] += expf(key.logits[code] - largest[0]);
    __syncthreads();
    if (thread == 0) {
        for (int i = 1; i < blockDim.x; ++i) sums[0] += sums[i];
        const float confidence = expf(key.logits[choices[0]] - largest[0]) / sums[0];
        scores[frame] = 1.0f - (t * gumbel(uniform(seed, 1, step, noise_layer, frame)) + confidence);
        codes[(u64)frame * num_layers + layer] = choices[0];
    }
}

// Of the masked frames, keeps the `count` of highest score masked and settles the others. One block.
extern "C" __global__ void remask(const float* scores, bool* masked, long long* codes, int frames, int num_layers,
                                  int layer, int mask_code, int count) {
    const ScoreKeys key = {scores, masked};
    const u64 threshold = count > 0 ? selection_threshold(key, frames, count) : ~0ull;
    for (int frame = threadIdx.x; frame < frames; frame += blockDim.x) {
        const bool again = key(frame) >= threshold;
        masked[frame] = again;
        if (again) codes[(u64)frame * num_layers + layer] = mask_code;
    }
}
