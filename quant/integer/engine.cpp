#include "quant/integer/engine.h"

#include <algorithm>

#include "quant/integer/engine_plan.h"
#include "tensor/check.h"
#include "tensor/factory.h"
#include "tensor/parallel.h"

namespace nibble::quant {
namespace {

// Where the trace of a batch takes the integers of one image.
class TraceWriter {
 public:
  TraceWriter(const IntModel& model, std::int64_t images) {
    Shape shape = model.input.image;
    add("input", shape, images, false);
    for (const IntLayer& layer : model.layers) {
      shape = output_shape(layer, shape);
      add(name_of(layer), shape, images, std::holds_alternative<IntProduct>(layer));
    }
  }

  std::int32_t* accumulators(std::size_t layer, std::int64_t image) {
    return at(trace_[layer].accumulators, image);
  }
  std::int32_t* codes(std::size_t layer, std::int64_t image) { return at(trace_[layer].codes, image); }
  std::int64_t count(std::size_t layer) const {
    return trace_[layer].codes.numel() / trace_[layer].codes.size(0);
  }
  IntTrace take() { return std::move(trace_); }

 private:
  void add(const std::string& name, const Shape& shape, std::int64_t images, bool is_product) {
    const Shape batch = shape.inserted(0, images);
    trace_.push_back({name, is_product ? empty(batch, DType::int32) : Tensor(), empty(batch, DType::int32)});
  }
  static std::int32_t* at(Tensor& tensor, std::int64_t image) {
    return tensor.mutable_data<std::int32_t>() + image * (tensor.numel() / tensor.size(0));
  }

  IntTrace trace_;
};

void copy_codes(const Place& place, const std::uint8_t* bytes, bool signed_bytes, std::int32_t* codes) {
  for (std::int64_t c = 0; c < place.image[0]; ++c)
    for (std::int64_t y = 0; y < place.image[1]; ++y)
      for (std::int64_t x = 0; x < place.image[2]; ++x)
        *codes++ = place.stored.code(bytes[place.byte_at(c, y, x)], signed_bytes);
}

}  // namespace

IntEngine::IntEngine(const IntModel& model, Isa isa)
    : model_(std::make_unique<const IntModel>(model)), plan_(std::make_unique<const Plan>(model, isa)) {}
IntEngine::~IntEngine() = default;
IntEngine::IntEngine(IntEngine&&) noexcept = default;

std::size_t IntEngine::arena_bytes() const { return static_cast<std::size_t>(plan_->bytes); }
std::int64_t IntEngine::image_bytes() const { return plan_->image.numel(); }
std::int64_t IntEngine::classes() const { return plan_->classes; }
Isa IntEngine::isa() const { return plan_->isa; }

IntEngine::Arena IntEngine::make_arena() const {
  Arena arena;
  arena.memory = Storage::allocate(arena_bytes());
  plan_->prepare(arena.memory->data());
  return arena;
}

void IntEngine::run(Arena& arena, const std::uint8_t* pixels, std::int64_t n, std::int32_t* logits) const {
  const OneThread on_this_thread;
  for (std::int64_t i = 0; i < n; i += Plan::kImagesPerBlock)
    plan_->run_block(arena.memory->data(), pixels + i * image_bytes(), std::min(Plan::kImagesPerBlock, n - i),
                     logits + i * classes());
}

void IntEngine::run_parallel(const std::uint8_t* pixels, std::int64_t n, std::int32_t* logits) const {
  parallel_for(n, Plan::kImagesPerBlock, [&](std::int64_t begin, std::int64_t end) {
    Arena arena = make_arena();
    run(arena, pixels + begin * image_bytes(), end - begin, logits + begin * classes());
  });
}

IntTrace IntEngine::trace(const Tensor& pixels) const {
  const OneThread on_this_thread;
  const Plan& plan = *plan_;
  const Tensor dense = pixels.contiguous();
  const std::int64_t images = dense.size(0);
  TraceWriter writer(*model_, images);
  if (images == 0) return writer.take();
  const Arena arena_handle = make_arena();
  std::byte* const arena = arena_handle.memory->data();
  std::byte* const scratch = arena + plan.scratch;
  for (std::int64_t i = 0; i < images; ++i) {
    plan.read(dense.data<std::uint8_t>() + i * image_bytes(), arena, 0);
    copy_codes(plan.places[0], plan.places[0].at(arena, 0), plan.signed_bytes, writer.codes(0, i));
    std::size_t layer = 1;
    for (std::size_t s = 0; s < plan.steps.size(); ++s) {
      const auto* conv = std::get_if<ConvStep>(&plan.steps[s]);
      const std::uint8_t* const from = plan.places[s].at(arena, 0);
      const bool is_last = s + 1 == plan.places.size();
      if (conv != nullptr) {
        conv->run_unfused(from, scratch, writer.accumulators(layer, i),
                          conv->pool2() ? writer.codes(layer, i) : nullptr);
        layer += conv->pool2();
      }
      plan.run_image_step(s, arena, 0, writer.codes(layer, i));
      if (!is_last)
        copy_codes(plan.places[s + 1], plan.places[s + 1].at(arena, 0), plan.signed_bytes,
                   writer.codes(layer, i));
      ++layer;
    }
    std::size_t l = 0;
    const std::uint8_t* rows = plan.places.back().at(arena, 0);
    for (; l < plan.linear.size(); ++layer) {
      const auto* product = std::get_if<IntProduct>(&model_->layers[layer - 1]);
      if (product == nullptr) {
        std::copy_n(writer.codes(layer - 1, i), writer.count(layer), writer.codes(layer, i));
        continue;
      }
      const LinearStep& linear = plan.linear[l];
      linear.run_sums(rows, 1, writer.accumulators(layer, i));
      std::int32_t* const codes = writer.codes(layer, i);
      if (product->out.bit_width == 32) {
        std::copy_n(writer.accumulators(layer, i), writer.count(layer), codes);
        rescale(*product, codes, 1, 1);
      } else {
        auto* const bytes = reinterpret_cast<std::uint8_t*>(arena + plan.row_offset[l]);
        linear.run_codes(rows, 1, bytes);
        const StoredCodes stored(product->out, plan.signed_bytes);
        for (std::int64_t j = 0; j < writer.count(layer); ++j)
          codes[j] = stored.code(bytes[j], plan.signed_bytes);
        rows = bytes;
      }
      ++l;
    }
  }
  return writer.take();
}

}  // namespace nibble::quant
