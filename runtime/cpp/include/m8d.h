/* The C interface of m8d: speech to 8-D latents and back, in any voice, from a bundle (docs/bundle-format.md).
 *
 * Errors: every function that can fail returns an m8d_status; m8d_last_error() has its text for the calling thread.
 * A function that fails changes none of its outputs.
 * Ownership: handles and arrays that a function hands out belong to the caller, who gives them back to the function
 * named there. Everything passed in is only read, and only during the call.
 * Threads: one m8d_pipeline may be used by any number of threads at a time; m8d_voice never changes. Only closing or
 * freeing has to wait until nobody uses the handle.
 */
#ifndef M8D_H
#define M8D_H

#include <stddef.h>
#include <stdint.h>

#if defined(_WIN32)
#define M8D_API __declspec(dllexport)
#else
#define M8D_API __attribute__((visibility("default")))
#endif

#ifdef __cplusplus
extern "C" {
#endif

typedef struct m8d_pipeline m8d_pipeline; /* an open bundle */
typedef struct m8d_voice m8d_voice;       /* a reference voice, encoded */

typedef enum m8d_status {
    M8D_OK = 0,
    M8D_INVALID_ARGUMENT = 1, /* audio, an array or an option is not usable */
    M8D_BAD_BUNDLE = 2,       /* the bundle is missing, incomplete, damaged or of another format */
    M8D_BAD_PROVIDER = 3,     /* what was asked for to run the bundle cannot be had here */
    M8D_CANCELLED = 4,        /* the progress function asked to stop */
    M8D_OUT_OF_MEMORY = 5,
    M8D_INTERNAL = 6
} m8d_status;

/* How a bundle is opened. Fill with m8d_open_options_init first, so that `size` and later fields are right. */
typedef struct m8d_open_options {
    size_t size;
    const char *provider; /* "cpu"; "tensorrt" where m8d was built with it */
    int32_t threads;      /* of each stage; 0 leaves it to the backend */
    int32_t verify;       /* not 0: hash every file, also the large ones */
} m8d_open_options;

/* How codes are sampled; m8d_sampling_init fills in the bundle's defaults. Ranges as in docs/bundle-format.md. */
typedef struct m8d_sampling {
    size_t size;
    uint64_t seed;             /* the same seed gives the same codes as the Python runtime */
    int32_t coarse_steps;      /* of the first layer, at least 1 */
    int32_t second_steps;      /* of the second layer, at least 1 */
    int32_t rest_steps;        /* of each later layer, at least 1 */
    float coarse_guidance;     /* 0 is none */
    float fine_guidance;
    float rescale;             /* 0 to 1 */
    float temperature;         /* more than 0 */
    float top_k_ratio;         /* more than 0, at most 1 */
    float prompt_seconds;      /* of the voice that are used; 0 is none */
} m8d_sampling;

typedef struct m8d_info {
    size_t size;
    int32_t sample_rate;    /* Hz of what comes out */
    int32_t frame_rate;     /* Hz of latents and codes */
    int32_t latent_dim;     /* D */
    int32_t num_quantizers; /* Q */
} m8d_info;

/* Told after each step of decoding; returns 0 to go on, anything else to cancel. Called on the thread of the call. */
typedef int (*m8d_progress)(void *user, uint32_t done, uint32_t total);

M8D_API const char *m8d_version(void); /* static storage */
/* Text of the last failure on this thread; valid until the thread's next call of m8d. Empty when there was none. */
M8D_API const char *m8d_last_error(void);

M8D_API m8d_status m8d_open_options_init(m8d_open_options *options, size_t size);
/* Opens the bundle folder at `path` (UTF-8). `options` may be NULL. Give *pipeline back to m8d_close. */
M8D_API m8d_status m8d_open(const char *path, const m8d_open_options *options, m8d_pipeline **pipeline);
M8D_API void m8d_close(m8d_pipeline *pipeline); /* NULL is fine */
M8D_API m8d_status m8d_get_info(const m8d_pipeline *pipeline, m8d_info *info, size_t size);
M8D_API m8d_status m8d_sampling_init(const m8d_pipeline *pipeline, m8d_sampling *sampling, size_t size);

/* Mono samples in [-1, 1] at `rate` Hz, at least 35 ms → latents, *frames x D floats, row by row.
 * Give *latents back to m8d_free. */
M8D_API m8d_status m8d_encode(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate,
                              float **latents, size_t *frames);
/* Latents → *codes of the semantic codebook, one per frame. Give *codes back to m8d_free. */
M8D_API m8d_status m8d_semantic_codes(m8d_pipeline *pipeline, const float *latents, size_t frames, int64_t **codes);

/* Encodes a reference voice for any number of conversions with pipelines of the same bundle.
 * Give *voice back to m8d_voice_free. */
M8D_API m8d_status m8d_voice_create(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate,
                                    m8d_voice **voice);
M8D_API void m8d_voice_free(m8d_voice *voice); /* NULL is fine */

/* Latents, frames x D → audio, *count samples. `voice`, `sampling`, `progress` and `codes` may be NULL; *codes are
 * frames x Q. Give *audio and *codes back to m8d_free. */
M8D_API m8d_status m8d_decode(m8d_pipeline *pipeline, const float *latents, size_t frames, const m8d_voice *voice,
                              const m8d_sampling *sampling, m8d_progress progress, void *user, float **audio,
                              size_t *count, int64_t **codes);
/* What the samples say, in `voice`: encode and decode in one call. */
M8D_API m8d_status m8d_convert(m8d_pipeline *pipeline, const float *samples, size_t count, int32_t rate,
                               const m8d_voice *voice, const m8d_sampling *sampling, m8d_progress progress, void *user,
                               float **audio, size_t *audio_count);

M8D_API void m8d_free(void *array); /* NULL is fine */

#ifdef __cplusplus
}
#endif

#endif
