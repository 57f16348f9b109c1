#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>

#include "apps/training/augmentation.h"
#include "apps/training/lab_model.h"
#include "apps/training/options.h"
#include "nn/sgd.h"

namespace nibble {

// A network in training: what a checkpoint holds, and what it takes to go on exactly where it stopped.
struct Run {
  Run(const ModelSpec& spec, const Augmentation& augmentation, std::uint64_t seed, const nn::SGDOptions& sgd);

  ModelSpec spec;
  Augmentation augmentation;
  std::uint64_t seed;      // of initialisation, shuffling and augmentation
  int epochs = 0;          // completed
  std::int64_t steps = 0;  // completed of the epoch under way: more than 0 after Ctrl-C
  nn::SGDOptions sgd;
  nn::Sequential model;
  std::unique_ptr<nn::SGD> optimizer;
};

// The same training writes the same bytes: no time, path or thread count goes into the file. Atomic.
void save_run(const std::filesystem::path& path, const Run& run);

// Throws std::invalid_argument where load_run or another command would take the file for something else by
// its name (.pth, .pt, .nbq), std::runtime_error where none can be written; an empty path is fine.
void check_checkpoint_path(const std::filesystem::path& path);

// Rebuilds the network from the checkpoint's metadata; a file without any holds a float network. Errors name
// the path; a pickle (.pth, .pt) is refused with a pointer to the converter. `logits` leaves the softmax out.
Run load_run(const std::filesystem::path& path, const nn::SGDOptions& sgd = {}, bool logits = false);

// What a command starts from: the checkpoint of --from, with the flags given on top, or a new float network.
Run start_run(const CommonOptions& common, const TrainingOptions& training);

// The seed of a run with a name of its own, drawn from that of the command.
std::uint64_t seed_of_run(std::uint64_t seed, const std::string& name);

}  // namespace nibble
