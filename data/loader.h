#pragma once

#include <optional>
#include <vector>

#include "data/dataset.h"

namespace nibble::data {

struct Batch {
  Tensor x;  // float32 [N, 1, 28, 28], pixel / 255, batch innermost in memory
  Tensor y;  // int64 [N]
};

struct LoaderOptions {
  std::int64_t batch_size = 64;
  bool shuffle = false;    // a permutation that is a function of (seed, epoch)
  std::uint64_t seed = 0;  // of the permutation
  bool drop_last = false;
};

// Batches of a data set, epoch by epoch:
//   for (auto [x, y] : loader.epoch(3)) ...
class DataLoader {
 public:
  // Any strides will do. Throws unless batch_size >= 1 and the data set has uint8 images [N, H, W] of less
  // than 2^31 bytes and as many int64 labels.
  DataLoader(Dataset dataset, const LoaderOptions& options);

  std::int64_t batches() const;  // per epoch

  class Epoch {
   public:
    struct End {};
    class Iterator {
     public:
      explicit Iterator(Epoch* epoch) : epoch_(epoch) { ++*this; }
      const Batch& operator*() const { return *batch_; }
      Iterator& operator++() {
        batch_ = epoch_->next();
        return *this;
      }
      friend bool operator==(const Iterator& i, End) { return !i.batch_; }

     private:
      Epoch* epoch_;
      std::optional<Batch> batch_;
    };

    Iterator begin() { return Iterator(this); }
    static End end() { return {}; }

    std::optional<Batch> next();  // empty at the end
    void skip(std::int64_t batches) { position_ += batches; }

   private:
    friend class DataLoader;
    Epoch(const DataLoader& loader, std::int64_t number);

    Dataset dataset_;
    LoaderOptions options_;
    std::int64_t number_;
    std::vector<std::int64_t> order_;
    std::int64_t position_ = 0;  // batches handed out
  };
  Epoch epoch(std::int64_t number) const { return Epoch(*this, number); }

 private:
  Dataset dataset_;
  LoaderOptions options_;
};

}  // namespace nibble::data
