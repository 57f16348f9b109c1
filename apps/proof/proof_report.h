#pragma once

#include <string>

#include "apps/proof/proof.h"

namespace nibble {

void print_proof(const Proof& proof);
std::string proof_json(const Proof& proof);

// "conv1 codes, image 3, element 17: expected 5, found 4"
std::string text_of(const quant::Difference& difference);

}  // namespace nibble
