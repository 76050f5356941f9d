# cmake --install: a package that find_package(Ingot) finds (apps/ installs the program). Ingot::llm is what users link; its
# headers are those of every folder, because each library is a link of the chain.

include(CMakePackageConfigHelpers)

get_property(INGOT_LIBRARIES GLOBAL PROPERTY INGOT_LIBRARIES)
if(NOT INGOT_LIBRARIES)
  return()
endif()

set(INGOT_PACKAGE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Ingot)
install(TARGETS ${INGOT_LIBRARIES} EXPORT IngotTargets ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(EXPORT IngotTargets NAMESPACE Ingot:: DESTINATION ${INGOT_PACKAGE_DIR})
install(DIRECTORY ${CMAKE_SOURCE_DIR}/src/ DESTINATION ${CMAKE_INSTALL_INCLUDEDIR}/ingot
        FILES_MATCHING PATTERN "*.h" PATTERN "kernels" EXCLUDE PATTERN "server" EXCLUDE)
configure_package_config_file(${CMAKE_SOURCE_DIR}/cmake/IngotConfig.cmake.in ${CMAKE_BINARY_DIR}/IngotConfig.cmake
                              INSTALL_DESTINATION ${INGOT_PACKAGE_DIR})
write_basic_package_version_file(${CMAKE_BINARY_DIR}/IngotConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/IngotConfig.cmake ${CMAKE_BINARY_DIR}/IngotConfigVersion.cmake
        DESTINATION ${INGOT_PACKAGE_DIR})
