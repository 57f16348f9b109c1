#pragma once

#include <map>
#include <string>

#include "data/augment.h"

namespace nibble {

// What is done to the images of both splits: mirrored, then rotated by an angle drawn from [low, high]
// degrees.
struct Augmentation {
  bool enabled = true;
  double low = -45, high = 45;  // the notebook's RandomRotation

  friend bool operator==(const Augmentation&, const Augmentation&) = default;
};

// "45" (that is -45..45) or "-45,90", in degrees; throws std::invalid_argument naming --rotate.
Augmentation parse_rotation(const std::string& text);

// Checkpoint metadata ("rotate": "-45,45" or "none"). A file without it was trained elsewhere: the
// notebook's.
void to_metadata(const Augmentation& augmentation, std::map<std::string, std::string>& metadata);
Augmentation augmentation_from_metadata(const std::map<std::string, std::string>& metadata);

// The transforms that do it.
data::Augmentation transforms_of(const Augmentation& augmentation);

}  // namespace nibble
