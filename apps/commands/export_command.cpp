#include "apps/commands/export_command.h"

#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <filesystem>
#include <memory>
#include <string>

#include "apps/proof/integer_network.h"
#include "apps/proof/proof_file.h"
#include "apps/terminal/output_file.h"
#include "apps/terminal/validators.h"
#include "quant/integer/certificate.h"
#include "quant/integer/export_c.h"
#include "quant/integer/model_file.h"
#include "tensor/atomic_file.h"
#include "tensor/check.h"
#if defined(NIBBLE_HAS_ONNX)
#include "quant/onnx/export_onnx.h"
#endif

namespace nibble {
namespace {

struct Options {
  std::string model, format, out, name, proof;
};

void write(const std::filesystem::path& path, const std::string& text) {
  write_file_atomically(path, std::as_bytes(std::span(text)));
  fmt::print("{}: {} bytes\n", path.string(), text.size());
}

// Of the self test: noise that reaches every layer.
constexpr std::int64_t kSelfTestImages = 2, kFirstNoise = 8;

void export_to_c(const Options& options, const std::string& name) {
  const std::filesystem::path source(options.out);
  std::filesystem::path header = source;
  header.replace_filename(name + ".h");  // as the source includes it
  check_writable(header);
  const quant::IntModel model = load_integer_model(options.model);
  const std::string sha256 = quant::sha256_of(model);
  const std::string certificate = options.proof.empty() ? sha256 : certificate_in(options.proof, sha256);
  const Tensor images = quant::extreme_images(model).narrow(0, kFirstNoise, kSelfTestImages).contiguous();
  const quant::CSources sources = quant::export_c(model, name, images, certificate);
  write(header, sources.header);
  write(source, sources.source);
}

#if defined(NIBBLE_HAS_ONNX)
void export_to_onnx(const Options& options, const std::string& name) {
  std::string bytes;
  if (!quant::is_nbq(options.model)) {
    Run run = load_run(options.model);
    if (!run.spec.is_quantized()) bytes = quant::export_onnx(run.model, {1, 28, 28}, 255, name);
  }
  if (bytes.empty()) bytes = quant::export_onnx(load_integer_model(options.model), name);
  quant::check_onnx(bytes);
  write(options.out, bytes);
}
#else
void export_to_onnx(const Options&, const std::string&) {
  throw std::runtime_error(
      "export: this build has no ONNX; it needs Debian's libonnx-dev and libprotobuf-dev");
}
#endif

void export_model(const Options& options) {
  const std::filesystem::path out(options.out);
  const std::string extension = options.format == "c" ? ".c" : ".onnx";
  NIBBLE_CHECK(out.extension() == extension, "--out ", options.out, ": expected a name in ", extension);
  NIBBLE_CHECK(options.proof.empty() || options.format == "c", "--proof is for --format c");
  check_writable(options.out);
  const std::string name = options.name.empty() ? out.stem().string() : options.name;
  options.format == "c" ? export_to_c(options, name) : export_to_onnx(options, name);
}

}  // namespace

void add_export_command(CLI::App& app) {
  CLI::App* command = app.add_subcommand("export", "Write a model as a C99 program or as ONNX");
  auto options = std::make_shared<Options>();
  command->add_option("model", options->model, "Checkpoint (.safetensors) or integer model (.nbq)")
      ->required();
  command->add_option("--format", options->format, "c|onnx")
      ->type_name("FORMAT")
      ->required()
      ->check(one_of({"c", "onnx"}));
  command->add_option("--out", options->out, "FILE.c (NAME.h beside it) or FILE.onnx")
      ->type_name("PATH")
      ->required();
  command->add_option("--name", options->name, "Of functions, header and graph (that of the file)")
      ->type_name("NAME");
  command
      ->add_option("--proof", options->proof, "For c: certificate of 'nibble prove --json', to be put inside")
      ->type_name("FILE");
  command->footer("Example: nibble export model.nbq --format c --out digits.c");
  command->callback([options] { export_model(*options); });
}

}  // namespace nibble
