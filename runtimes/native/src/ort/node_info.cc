#include "ort/node_info.h"

#include <algorithm>

namespace rrwkv {
namespace {

// What onnxruntime writes into a place of the size that it asks for. read(text, &size) gives a status.
template <typename Read>
std::string text_of(const Api& api, const std::string& doing, const Read& read) {
  size_t size = 0;
  if (OrtStatus* status = read(nullptr, &size)) api.release(status);  // some say the size with an error
  std::string text(size, '\0');
  check(api, read(text.data(), &size), doing.c_str());
  text.resize(std::min(text.size(), size ? size - 1 : 0));  // without the zero at the end
  return text;
}

std::vector<std::string> split(const std::string& list) {
  std::vector<std::string> names(1);
  for (char c : list) {
    if (c == ',')
      names.emplace_back();
    else
      names.back() += c;
  }
  return names;
}

}  // namespace

NodeInfo::NodeInfo(const Api& api, const OrtKernelInfo* info) : api_(api), info_(info) {
  const std::string list = text_of(api, "attribute inputs",
                                   [&](char* text, size_t* size) { return api.attribute(info, "inputs", text, size); });
  const auto named = static_cast<size_t>(std::count(list.begin(), list.end(), ',')) + 1;
  size_t count = 0;
  check(api, api.input_count(info, &count), "the number of inputs");
  if (named != count)
    throw std::runtime_error("attribute inputs names " + std::to_string(named) + " inputs of " + std::to_string(count));
  const std::vector<std::string> names = split(list);
  for (size_t place = 0; place < names.size(); ++place)
    if (!names[place].empty()) take(place, names[place]);
}

void NodeInfo::take(size_t place, const std::string& name) {
  add(place, name);
  const auto value = [&](char* text, size_t* size) { return api_.input_name(info_, place, text, size); };
  if (text_of(api_, "an input's name", value).empty()) throw std::runtime_error("input " + name + " is not given");
  int is_constant = 0;
  const OrtValue* given = nullptr;
  check(api_, api_.constant(info_, place, &is_constant, &given), "an input");
  if (is_constant) add_constant(name, value_of(api_, given, name));
}

float NodeInfo::number(const char* attribute) const {
  float value = 0;
  check(api_, api_.attribute(info_, attribute, &value), attribute);
  return value;
}

int64_t NodeInfo::whole_number(const char* attribute) const {
  int64_t value = 0;
  check(api_, api_.attribute(info_, attribute, &value), attribute);
  return value;
}

void NodeInfo::expect_outputs(size_t count) const {
  size_t found = 0;
  check(api_, api_.output_count(info_, &found), "the number of outputs");
  if (found != count)
    throw std::runtime_error("it must have " + std::to_string(count) + " outputs, not " + std::to_string(found));
}

std::string title_of(const Api& api, const char* operator_name, const OrtKernelInfo* info) {
  try {
    const auto name = [&](char* text, size_t* size) { return api.node_name(info, text, size); };
    return std::string(operator_name) + " '" + text_of(api, "a node's name", name) + "'";
  } catch (const std::exception&) {
    return operator_name;
  }
}

}  // namespace rrwkv
