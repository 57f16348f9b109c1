#include "apps/terminal/live_lines.h"

#include <fmt/format.h>

#include <algorithm>

namespace nibble {

std::vector<std::pair<const void*, std::string>>::iterator LiveLines::find(const void* owner) {
  return std::find_if(lines_.begin(), lines_.end(), [&](const auto& line) { return line.first == owner; });
}

std::string LiveLines::set(const void* owner, const std::string& line, std::size_t room) {
  if (const auto found = find(owner); found != lines_.end())
    found->second = line;
  else
    lines_.emplace_back(owner, line);
  room_ = room;
  std::string text = erase();  // before draw()
  return text += draw();
}

std::string LiveLines::close(const void* owner) {
  const auto found = find(owner);
  if (found == lines_.end()) return "";
  std::string text = erase() + found->second + "\n";
  lines_.erase(found);
  return text += draw();
}

std::string LiveLines::erase() {
  const std::string up = drawn_ > 1 ? fmt::format("\x1b[{}A", drawn_ - 1) : "";
  return std::exchange(drawn_, 0) > 0 ? up + "\r\x1b[J" : "";
}

std::string LiveLines::draw() {
  std::string text;
  for (drawn_ = 0; drawn_ < std::min(lines_.size(), room_); ++drawn_)
    text += (drawn_ > 0 ? "\n" : "") + lines_[drawn_].second;
  return text;
}

}  // namespace nibble
