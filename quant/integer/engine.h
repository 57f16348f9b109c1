#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "quant/integer/model.h"
#include "quant/integer/trace.h"
#include "tensor/simd/isa.h"
#include "tensor/storage.h"

namespace nibble::quant {

// An integer model ready to run on one tier of the machine: weights in the order its kernels read them, and
// every activation in a place that was planned ahead. Convolutions run one image at a time with activations
// in L1, linear layers on a block of images. Results are those of run_reference, bit by bit. Immutable once
// made: any number of threads may run one engine at the same time, each with an arena of its own.
class IntEngine {
 public:
  // Throws std::invalid_argument where the model does not pass check(), and where a linear layer exceeds
  // packed_matrix.h's bound on k or has a bias beyond 2^30. The model may go afterwards.
  explicit IntEngine(const IntModel& model, Isa isa = active_isa());
  ~IntEngine();
  IntEngine(IntEngine&&) noexcept;

  // Everything a caller needs besides pixels and logits. Scratch of linear layers comes from Storage's pool,
  // which once warm asks the system for nothing; its handles, and a band of words where a convolution's codes
  // are the logits, are from the heap.
  class Arena {
    friend class IntEngine;
    std::shared_ptr<Storage> memory;
  };
  std::size_t arena_bytes() const;
  Arena make_arena() const;

  std::int64_t image_bytes() const;  // C * H * W
  std::int64_t classes() const;      // integers per image in the output
  Isa isa() const;

  // pixels: n raw images [C, H, W]; logits: [n, classes]. On the calling thread alone.
  void run(Arena& arena, const std::uint8_t* pixels, std::int64_t n, std::int32_t* logits) const;
  // The same on up to num_threads() threads, with arenas of its own.
  void run_parallel(const std::uint8_t* pixels, std::int64_t n, std::int32_t* logits) const;

  // Every integer, from the kernels that run() uses: sums and codes of convolutions as they are before
  // pooling, codes behind a fused pooling from the fused kernel. pixels: uint8 [N, C, H, W].
  IntTrace trace(const Tensor& pixels) const;

 private:
  struct Plan;
  std::unique_ptr<const IntModel> model_;  // names and shapes, for traces
  std::unique_ptr<const Plan> plan_;
};

}  // namespace nibble::quant
