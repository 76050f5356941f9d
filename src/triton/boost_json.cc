// Boost.JSON, compiled into the backend: Debian's static library is no position-independent code.
#include <boost/json/src.hpp>
