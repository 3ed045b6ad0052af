// What the library throws inside; the C interface turns it into a status and a text.
#pragma once

#include <sstream>
#include <stdexcept>
#include <string>

#include "m8d.h"

namespace m8d::core {

class Error : public std::runtime_error {
  public:
    Error(m8d_status status, const std::string &text) : std::runtime_error(text), status(status) {}
    m8d_status status;
};

template <typename... Parts> [[noreturn]] void fail(m8d_status status, const Parts &...parts) {
    std::ostringstream text;
    (text << ... << parts);
    throw Error(status, text.str());
}

}  // namespace m8d::core
