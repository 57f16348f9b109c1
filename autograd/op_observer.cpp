#include "autograd/op_observer.h"

#include <stdexcept>

namespace nibble {
namespace {

thread_local OpObserver* observer = nullptr;

}  // namespace

OpObserver::OpObserver() {
  if (observer != nullptr) throw std::logic_error("OpObserver: this thread is being observed already");
  observer = this;
}

OpObserver::~OpObserver() { observer = nullptr; }

OpObserver* OpObserver::current() { return observer; }

}  // namespace nibble
