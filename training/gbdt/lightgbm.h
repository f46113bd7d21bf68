// The functions of LightGBM's C API that Relish calls, through function pointers: the library is opened
// at run time, and nothing is linked against it. The signatures are those of LightGBM 4.7,
// include/LightGBM/c_api.h.
#include <dlfcn.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

// LightGBM prints to standard output unless a callback takes its messages. Errors are return codes.
static inline void discard(const char *message) { (void)message; }

static inline int lgbm_silence(void *f) {
  return ((int (*)(void (*)(const char *)))f)(discard);
}

static inline const char *lgbm_last_error(void *f) { return ((const char *(*)(void))f)(); }

static inline int lgbm_free(void *f, void *handle) { return ((int (*)(void *))f)(handle); }

static inline int lgbm_dataset(void *f, const float *rows, int32_t n, int32_t columns, const char *parameters,
                               void *reference, void **out) {
  return ((int (*)(const void *, int, int32_t, int32_t, int, const char *, void *, void **))f)(
      rows, 0, n, columns, 1, parameters, reference, out);
}

static inline int lgbm_set_field(void *f, void *dataset, const char *name, const void *values, int n, int type) {
  return ((int (*)(void *, const char *, const void *, int, int))f)(dataset, name, values, n, type);
}

static inline int lgbm_booster(void *f, void *dataset, const char *parameters, void **out) {
  return ((int (*)(void *, const char *, void **))f)(dataset, parameters, out);
}

static inline int lgbm_load(void *f, const char *model, int *iterations, void **out) {
  return ((int (*)(const char *, int *, void **))f)(model, iterations, out);
}

static inline int lgbm_pair(void *f, void *booster, void *other) {
  return ((int (*)(void *, void *))f)(booster, other);
}

static inline int lgbm_update(void *f, void *booster, int *finished) {
  return ((int (*)(void *, int *))f)(booster, finished);
}

static inline int lgbm_get_predict(void *f, void *booster, int data, int64_t *n, double *out) {
  return ((int (*)(void *, int, int64_t *, double *))f)(booster, data, n, out);
}

static inline int lgbm_save(void *f, void *booster, int iterations, int64_t room, int64_t *n, char *out) {
  return ((int (*)(void *, int, int, int, int64_t, int64_t *, char *))f)(booster, 0, iterations, 1, room, n, out);
}

static inline int lgbm_importance(void *f, void *booster, int iterations, double *out) {
  return ((int (*)(void *, int, int, double *))f)(booster, iterations, 1, out);
}

static inline int lgbm_predict(void *f, void *booster, const float *rows, int32_t n, int32_t columns, int kind,
                               const char *parameters, int64_t *written, double *out) {
  return ((int (*)(void *, const void *, int, int32_t, int32_t, int, int, int, int, const char *, int64_t *,
                   double *))f)(booster, rows, 0, n, columns, 1, kind, 0, -1, parameters, written, out);
}

// lgbm_predict_rows takes the fast path for single rows, row after row.
static inline int lgbm_predict_rows(void *init, void *predict, void *release, void *booster, const float *rows,
                                    int32_t n, int32_t columns, const char *parameters, double *out) {
  void *config = NULL;
  int64_t written = 0;
  int rc = ((int (*)(void *, int, int, int, int, int32_t, const char *, void **))init)(
      booster, 1, 0, -1, 0, columns, parameters, &config);
  if (rc != 0) return rc;
  for (int32_t i = 0; i < n && rc == 0; i++)
    rc = ((int (*)(void *, const void *, int64_t *, double *))predict)(config, rows + (size_t)i * columns,
                                                                       &written, out + i);
  ((int (*)(void *))release)(config);
  return rc;
}
