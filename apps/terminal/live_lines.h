#pragma once

#include <cstddef>
#include <string>
#include <utility>
#include <vector>

namespace nibble {

// The lines at the bottom of a terminal that are drawn again and again, one for each owner, the oldest first.
// Every method returns what to write to the terminal; no line may be as wide as it, and no more lines are
// drawn than it has room for.
class LiveLines {
 public:
  std::string set(const void* owner, const std::string& line, std::size_t room);
  std::string close(const void* owner);  // its line stays, above those that live on

  // Anything else is written between these two.
  std::string erase();
  std::string draw();

 private:
  std::vector<std::pair<const void*, std::string>>::iterator find(const void* owner);

  std::vector<std::pair<const void*, std::string>> lines_;
  std::size_t room_ = 0;
  std::size_t drawn_ = 0;  // the cursor is in the last of them
};

}  // namespace nibble
