#include "tensor/kernels/optimizer.h"
#include "nn/adam.h"
#include "nn/lr_schedule.h"
#include "nn/sgd.h"
#include "tensor/elementwise.h"
#include "tensor/factory.h"
#include "tests/support/catch.h"
#include "tests/support/golden.h"

#define NIBBLE_TIER reference
#include "tensor/kernels/optimizer_formulas.h"

using namespace nibble;

TEST_CASE("golden: SGD, Adam and AdamW follow PyTorch for five steps") {
  const test::Golden golden("torch_ops_optim");
  for (int i = 0; i < golden.cases(); ++i) {
    const std::string kind = golden.meta(i, "optimizer");
    INFO("case " << i << " " << kind);
    for (DType dtype : {DType::float32, DType::float64}) {
      Variable p(golden.tensor(i, "param").to(dtype).clone(), true);
      const nn::NamedParameters parameters{{"p", p}};
      std::unique_ptr<nn::Optimizer> optimizer;
      const double lr = golden.number(i, "lr"), decay = golden.number(i, "weight_decay");
      if (kind == "SGD") {
        optimizer = std::make_unique<nn::SGD>(
            parameters, nn::SGDOptions{lr, golden.number(i, "momentum"), golden.number(i, "dampening"), decay,
                                       golden.flag(i, "nesterov")});
      } else {
        nn::AdamOptions options{.lr = lr, .weight_decay = decay};
        const std::string key = "case" + std::to_string(i) + ".betas";
        if (golden.has_meta(key)) {
          const std::string betas = golden.meta(key);
          const std::size_t digit = betas.find_first_of("0123456789.");
          options.beta1 = std::stod(betas.substr(digit));
          options.beta2 = std::stod(betas.substr(betas.find(',') + 1));
        }
        if (golden.has_meta("case" + std::to_string(i) + ".eps")) options.eps = golden.number(i, "eps");
        if (kind == "Adam")
          optimizer = std::make_unique<nn::Adam>(parameters, options);
        else if (kind == "AdamW")
          optimizer = std::make_unique<nn::AdamW>(
              parameters,
              nn::AdamWOptions{options.lr, options.beta1, options.beta2, options.eps, options.weight_decay});
        else
          throw std::runtime_error("unknown optimizer " + kind);
      }
      const Tensor grads = golden.tensor(i, "grad"), after = golden.tensor(i, "after");
      for (std::int64_t step = 0; step < grads.size(0); ++step) {
        p.set_grad(grads.select(0, step).to(dtype));
        optimizer->step();
        CHECK(test::relative_error(p.value(), after.select(0, step)) <= 1e-5);
      }
    }
  }
}

TEST_CASE("optimizer kernels agree with the scalar formulas", "[tiers]") {
  Rng rng(4);
  for (Isa isa : supported_isas()) {
    INFO(name_of(isa));
    const OptimizerKernels& kernels = optimizer_kernels(isa);
    for (std::int64_t n : {0, 1, 3, 4, 7, 8, 9, 15, 16, 17, 48, 130}) {
      Tensor p = uniform({n}, -1, 1, rng), m = uniform({n}, -1, 1, rng), v = uniform({n}, 0, 1, rng);
      const Tensor g = uniform({n}, -1, 1, rng);
      const auto compare_sgd = [&](const SgdStep& step, bool has_buffer) {
        Tensor p1 = p.clone(), m1 = m.clone();
        kernels.sgd(p1.mutable_data<float>(), g.data<float>(),
                    has_buffer ? m1.mutable_data<float>() : nullptr, static_cast<std::size_t>(n), step);
        for (std::int64_t i = 0; i < n; ++i) {
          double buffer = has_buffer ? m.data<float>()[i] : 0;
          const double expected =
              reference::sgd_update<double, double>(p.data<float>()[i], g.data<float>()[i], buffer, step);
          CHECK(p1.data<float>()[i] == Approx(expected).margin(1e-6));
          if (has_buffer) CHECK(m1.data<float>()[i] == Approx(buffer).margin(1e-6));
        }
      };
      for (const bool first : {false, true}) {
        for (const bool nesterov : {false, true}) compare_sgd({0.1, 0.9, 0, 0.01, nesterov, first}, true);
        compare_sgd({0.1, 0.9, 0.3, 0, false, first}, true);
      }
      for (const double weight_decay : {0.0, 0.01})
        for (const bool has_buffer : {false, true})
          compare_sgd({0.1, 0, 0, weight_decay, false, false}, has_buffer);
      for (const bool decoupled : {false, true})
        for (const double weight_decay : {0.0, 0.01}) {
          const AdamStep step{0.1, 0.9, 0.999, 1e-8, weight_decay, decoupled, 0.19, 0.002};
          Tensor p1 = p.clone(), m1 = m.clone(), v1 = v.clone();
          kernels.adam(p1.mutable_data<float>(), g.data<float>(), m1.mutable_data<float>(),
                       v1.mutable_data<float>(), static_cast<std::size_t>(n), step);
          for (std::int64_t i = 0; i < n; ++i) {
            double mean = m.data<float>()[i], square = v.data<float>()[i];
            const double expected = reference::adam_update<double, double>(
                p.data<float>()[i], g.data<float>()[i], mean, square, step);
            CHECK(p1.data<float>()[i] == Approx(expected).margin(1e-5));
            CHECK(m1.data<float>()[i] == Approx(mean).margin(1e-6));
            CHECK(v1.data<float>()[i] == Approx(square).margin(1e-6));
          }
        }
    }
  }
}

TEST_CASE("an optimizer goes on bit for bit from its saved state") {
  Rng rng(6);
  const Tensor start = uniform({40}, -1, 1, rng);
  for (bool adam : {false, true}) {
    const auto make = [&](Variable p) -> std::unique_ptr<nn::Optimizer> {
      if (adam) return std::make_unique<nn::Adam>(nn::NamedParameters{{"a.p", p}}, nn::AdamOptions{});
      return std::make_unique<nn::SGD>(nn::NamedParameters{{"a.p", p}},
                                       nn::SGDOptions{.lr = 0.1, .momentum = 0.9});
    };
    std::vector<Tensor> grads;
    for (int i = 0; i < 6; ++i) grads.push_back(uniform({40}, -1, 1, rng));
    Variable p(start.clone(), true);
    auto whole = make(p);
    std::map<std::string, Tensor> state;
    Tensor middle;
    for (int i = 0; i < 6; ++i) {
      if (i == 3) {
        for (const auto& [name, tensor] : whole->state_dict()) state[name] = tensor.clone();
        middle = p.value().clone();
      }
      p.set_grad(grads[static_cast<std::size_t>(i)]);
      whole->step();
    }
    Variable q(middle, true);
    auto resumed = make(q);
    resumed->load_state_dict(state);
    for (int i = 3; i < 6; ++i) {
      q.set_grad(grads[static_cast<std::size_t>(i)]);
      resumed->step();
    }
    CHECK(test::same_elements(p.value(), q.value()));
    CHECK_THROWS_WITH(resumed->load_state_dict({{"momentum_buffer.b", start}}),
                      Catch::Contains("belongs to no parameter"));
    if (adam)
      CHECK_THROWS_WITH(
          resumed->load_state_dict({{"step.a.p", zeros({40})}}),
          "optimizer: state \"step.a.p\" has shape [40] of float32, expected one element of int64");
    CHECK_THROWS(resumed->load_state_dict({{adam ? "exp_avg.a.p" : "momentum_buffer.a.p", zeros({2})}}));
  }
}

TEST_CASE("a parameter without a gradient stays, impossible options are refused") {
  Variable p(ones({2}), true);
  nn::SGD sgd({{"p", p}}, {.lr = 1, .weight_decay = 0.5});
  sgd.step();
  CHECK(p.value().values<float>()[0] == 1);
  CHECK_THROWS(nn::SGD({{"p", p}}, {.lr = -1}));
  CHECK_THROWS(nn::SGD({{"p", p}}, {.nesterov = true}));
  CHECK_THROWS(nn::Adam({{"p", p}}, {.beta1 = 1}));
  CHECK(nn::step_lr(1, 25, 10) == Approx(0.01));
  CHECK(nn::cosine_lr(1, 5, 10) == Approx(0.5));
}
