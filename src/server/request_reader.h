// A request's way in.
#pragma once

#include <boost/beast/http/parser.hpp>
#include <boost/beast/http/string_body.hpp>
#include <chrono>
#include <optional>

#include "server/body_memory.h"
#include "server/connection.h"

namespace ingot::server {

// A request that is being read, and the share of memory that its body has.
struct Incoming {
  boost::beast::http::request_parser<boost::beast::http::string_body> parser;
  BodyShare share;
  std::chrono::steady_clock::time_point begin;  // when its first byte came
};

// Waits for a request's first byte (idle timeout), its header and its body. No error: it is all there.
asio::awaitable<boost::system::error_code> ReadRequest(Connection& connection, Incoming& incoming);
// What to tell a client whose request could not be read; nothing where it has gone: just close.
std::optional<WireError> ReadError(const boost::system::error_code& error, const HttpOptions& options);
// What came of it: all, or as much as was read. Takes the body and its share.
HttpRequest TakeRequest(Incoming& incoming, const Connection& connection);

}  // namespace ingot::server
