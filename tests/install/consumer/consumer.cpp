#include "autograd/ops_elementwise.h"
#include "nn/sequential.h"
#include "tensor/factory.h"

int main() {
  nibble::Variable x(nibble::full({}, 3), true);
  (x * x).backward();
  return x.grad().item() == 6 ? 0 : 1;
}
