#include <exception>
#include <iostream>
#include <string>

#include "bench/measure.h"
#include "tensor/simd/isa.h"

int main(int argc, char** argv) {
  try {
    benchmark::AddCustomContext("isa", nibble::name_of(nibble::active_isa()));
    nibble::bench::register_sgemm();
    nibble::bench::register_conv();
    nibble::bench::register_pool();
    nibble::bench::register_elementwise();
    nibble::bench::register_augment();
    nibble::bench::register_probe();
    nibble::bench::register_qgemm();
    nibble::bench::register_train_step();
    nibble::bench::register_int_infer();
    benchmark::AddCustomContext("64 x 255 x 127", std::to_string(nibble::bench::nibble_sum_of_extremes()));
#if defined(NIBBLE_BENCH_PEERS)
    benchmark::AddCustomContext("64 x 255 x 127 by oneDNN",
                                std::to_string(nibble::bench::onednn_sum_of_extremes()));
    nibble::bench::register_onednn();
    nibble::bench::register_onednn_qgemm();
    nibble::bench::register_onednn_int_infer();
    nibble::bench::register_openblas();
#endif
    benchmark::Initialize(&argc, argv);
    if (benchmark::ReportUnrecognizedArguments(argc, argv)) return 1;
    benchmark::RunSpecifiedBenchmarks();
    benchmark::Shutdown();
  } catch (const std::exception& error) {
    std::cerr << "nibble_bench: " << error.what() << '\n';
    return 1;
  }
  return 0;
}
