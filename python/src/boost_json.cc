// Boost.JSON's definitions, compiled into the extension: Debian's libboost_json.a is not compiled with -fPIC.
#include <boost/json/src.hpp>
