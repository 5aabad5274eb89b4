// Memory for what is computed on the way.
#pragma once

#include <cstddef>
#include <memory>
#include <new>

namespace rrwkv {

// Memory that a 512-bit load may read to its end.
template <typename T>
class Scratch {
 public:
  T* of(size_t count) {
    if (count > size_) {
      size_ = 0;
      data_.reset(static_cast<T*>(operator new(count * sizeof(T) + 128, std::align_val_t{64})));
      size_ = count;
    }
    return data_.get();
  }
  T* data() const { return data_.get(); }

 private:
  struct Free {
    void operator()(T* p) const { operator delete(p, std::align_val_t{64}); }
  };
  std::unique_ptr<T, Free> data_;
  size_t size_ = 0;
};

}  // namespace rrwkv
