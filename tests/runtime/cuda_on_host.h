// Lets a C++ compiler build the kernels: a block is that many threads with a barrier, blocks run one after another.
#include <atomic>
#include <barrier>
#include <cmath>
#include <cstring>
#include <thread>
#include <vector>

struct Index {
    int x;
};
static thread_local Index threadIdx, blockIdx;
static Index blockDim;
static std::barrier<>* block_barrier;

#define __device__
#define __global__
#define __shared__ static
#define __syncthreads() block_barrier->arrive_and_wait()

static unsigned long long __umul64hi(unsigned long long a, unsigned long long b) {
    return (unsigned long long)((unsigned __int128)a * b >> 64);
}
static unsigned __float_as_uint(float number) {
    unsigned bits;
    std::memcpy(&bits, &number, sizeof bits);
    return bits;
}
static int atomicAdd(int* counter, int value) { return __atomic_fetch_add(counter, value, __ATOMIC_RELAXED); }

template <class Kernel, class... Arguments>
void launch(Kernel kernel, int blocks, int threads, Arguments... arguments) {
    std::barrier<> barrier(threads);
    block_barrier = &barrier;
    blockDim.x = threads;
    std::vector<std::thread> block;
    for (int thread = 0; thread < threads; ++thread)
        block.emplace_back([=, &barrier] {
            threadIdx.x = thread;
            for (int i = 0; i < blocks; ++i) {
                blockIdx.x = i;
                kernel(arguments...);
                barrier.arrive_and_wait();
            }
        });
    for (std::thread& thread : block) thread.join();
}
